import { formatEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';

/**
 * One reading of a source: its endpoints, and how long until it is worth asking again; 0: at once,
 * of a source that then waits until there is something new.
 */
export type Reading = { specs: EndpointSpec[]; nextMs: number };

/** A place that endpoints are read from. */
export interface Source {
  /** Whether a reading stays open until there is something new. */
  readonly tellsChanges: boolean;
  /** Whether it is on this host, and may name it. */
  readonly local: boolean;
  /** Whether it cannot err about having nothing: it is believed at once. */
  readonly exact?: boolean;
  /** With `again` it answers at once, though nothing may be new. */
  read(again: boolean): Promise<Reading>;
  /** Gives up a reading that is under way. */
  close(): void;
}

/** An endpoint at an address and port. */
export function endpointSpec(host: string, port: number, weight = 1): EndpointSpec {
  const address = { host, port };
  return { id: formatEndpointAddress(address), address, weight, backup: false };
}
