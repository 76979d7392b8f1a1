import type { EndpointAddress } from '../../model/address.ts';

/**
 * How far a check came, in HAProxy's words: the layer and what was met there. L4 is connecting, L6
 * TLS, L7 what is spoken on it; PROC is a program.
 * Source: HAProxy management guide, `check_status`.
 */
export type ProbeVerdict =
  | 'L4OK'
  | 'L4TOUT'
  | 'L4CON'
  | 'L6OK'
  | 'L6TOUT'
  | 'L6RSP'
  | 'L7OK'
  | 'L7TOUT'
  | 'L7RSP'
  | 'L7STS'
  | 'PROCOK'
  | 'PROCERR'
  | 'PROCTOUT';

/** What one check found. */
export type ProbeResult = {
  readonly ok: boolean;
  readonly reason: string;
  readonly verdict: ProbeVerdict;
  /** Of an answer or a program that ended, its status. */
  readonly code?: number;
};

/** One kind of active check, ready to be run against any endpoint. */
export interface Probe {
  /** Ends within the check's timeout, whatever the endpoint does; never rejects. */
  run(address: EndpointAddress): Promise<ProbeResult>;
}

/** A check that passed. */
export function passedProbe(verdict: 'L4OK' | 'L6OK' | 'L7OK' | 'PROCOK', code?: number) {
  return result(true, '', verdict, code);
}

/** A check that failed, and why, in words. */
export function failedProbe(
  reason: string,
  verdict: ProbeVerdict = 'L7RSP',
  code?: number,
): ProbeResult {
  return result(false, reason, verdict, code);
}

/** A check that could not connect. */
export function dialFailure(failure: string): ProbeResult {
  if (failure === 'connect-timeout') return failedProbe(failure, 'L4TOUT');
  if (failure === 'refused') return failedProbe('connection refused', 'L4CON');
  return failedProbe(failure, failure === 'protocol' ? 'L7RSP' : 'L4CON');
}

function result(
  ok: boolean,
  reason: string,
  verdict: ProbeVerdict,
  code: number | undefined,
): ProbeResult {
  return { ok, reason, verdict, ...(code === undefined ? {} : { code }) };
}
