import type { EndpointAddress } from '../../model/address.ts';

/** What one check found. */
export type ProbeResult = { readonly ok: boolean; readonly reason: string };

/** One kind of active check, ready to be run against any endpoint. */
export interface Probe {
  /** Ends within the check's timeout, whatever the endpoint does; never rejects. */
  run(address: EndpointAddress): Promise<ProbeResult>;
}

/** The words for a check that passed. */
export const PASSED: ProbeResult = { ok: true, reason: '' };

/** A check that failed, and why, in words. */
export function failedProbe(reason: string): ProbeResult {
  return { ok: false, reason };
}
