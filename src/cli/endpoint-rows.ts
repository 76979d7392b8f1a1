import type { EndpointInfo, ServiceInfo } from '../client/admin-types.ts';
import { table } from './table.ts';

/** One word for whether an endpoint takes work, and why not. */
export function stateOf(endpoint: EndpointInfo): string {
  if (endpoint.admin !== 'ready') return endpoint.admin;
  if (endpoint.agent && endpoint.agent !== 'ready') return endpoint.agent;
  if (endpoint.ejected) return 'ejected';
  return endpoint.check;
}

function rowsOf({ name, endpoints }: ServiceInfo): string[][] {
  return endpoints.map((endpoint) => [
    name,
    endpoint.id,
    stateOf(endpoint),
    endpoint.backup ? `${endpoint.weight} backup` : String(endpoint.weight),
    String(endpoint.active),
    endpoint.reason,
  ]);
}

/** Endpoints of services as a table. */
export function endpointTable(services: readonly ServiceInfo[]): string {
  const heading = ['SERVICE', 'ENDPOINT', 'STATE', 'WEIGHT', 'ACTIVE', 'REASON'];
  return table(heading, services.flatMap(rowsOf));
}
