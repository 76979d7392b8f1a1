import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import { formatEndpointAddress } from '../../model/address.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import { type BoardSnapshot, HealthBoard } from '../health/health-board.ts';
import type { ConfigMaterial } from '../ipc.ts';

/** What a worker knows when it loses its supervisor. */
export type LastKnown = {
  readonly config: GatewayConfig;
  readonly material: ConfigMaterial;
  readonly services: readonly ServiceState[];
};

/** A board for a worker without a supervisor: it checks by itself, from what it was last told. */
export function loneBoard(
  { config, material, services }: LastKnown,
  deps: {
    clock: Clock;
    logger: Logger;
    metrics: MetricRegistry;
    onChange: (state: ServiceState) => void;
  },
): HealthBoard {
  const board = new HealthBoard(deps);
  board.configure(config, material);
  for (const { service, endpoints } of services) board.setEndpoints(service, endpoints);
  board.restore(snapshotOf(config, services));
  return board;
}

/** Of ejections only that they are; of weights those that differ from what is written. */
function snapshotOf(config: GatewayConfig, services: readonly ServiceState[]): BoardSnapshot {
  const weights = services.flatMap(({ service, endpoints }) => {
    const written = new Map(
      (config.services[service]?.endpoints ?? []).map(({ address, weight }) => [
        formatEndpointAddress(address),
        weight,
      ]),
    );
    return endpoints.flatMap(({ id, weight }) =>
      written.has(id) && written.get(id) !== weight ? [{ service, endpoint: id, weight }] : [],
    );
  });
  return { services, ejections: [], weights, overlays: [] };
}
