import type { MetricFamily, TallyCell } from '../../base/metrics.ts';

const COLUMNS = [
  ...['received', 'sent', 'clientAborts', 'endpointAborts', 'retries', 'redispatches'],
  ...['connects', 'connectMs', 'finished', 'waitMs', 'answered', 'responseMs', 'totalMs'],
  ...['1xx', '2xx', '3xx', '4xx', '5xx'],
] as const;

const PEAKS = ['waitMs', 'connectMs', 'responseMs', 'totalMs'] as const;

/** A highest value of one endpoint, in ms. */
export type EndpointPeak = (typeof PEAKS)[number];

/** A count of one endpoint: bytes, sessions, milliseconds summed up, answers by class. */
export type EndpointCount = (typeof COLUMNS)[number];

/**
 * What HAProxy counts of a server and no series tells: one sample an endpoint, so that thousands
 * of endpoints stay cheap to report.
 */
export const ENDPOINT_TALLY: MetricFamily = {
  name: 'sluice_endpoint_tally',
  help: 'Counts of an endpoint for statistics in the form of HAProxy.',
  type: 'tally',
  labels: ['service', 'endpoint'],
  columns: COLUMNS,
  peaks: PEAKS,
};

const AT = Object.fromEntries(COLUMNS.map((name, at) => [name, at])) as Record<
  EndpointCount,
  number
>;

const PEAK_AT = Object.fromEntries(PEAKS.map((name, at) => [name, at])) as Record<
  EndpointPeak,
  number
>;

/** A highest value of those that were told; 0 when there are none. */
export function peakIn(peaks: readonly number[] | undefined, name: EndpointPeak): number {
  return peaks?.[PEAK_AT[name]] ?? 0;
}

/** A count of a tally that was told; 0 when there is none. */
export function countIn(counts: readonly number[] | undefined, name: EndpointCount): number {
  return counts?.[AT[name]] ?? 0;
}

/** What a session of an endpoint came to; durations in ms. */
export type FinishedSession = {
  readonly outcome: string;
  /** Towards the endpoint. */
  readonly sent: number;
  /** From it. */
  readonly received: number;
  readonly waitMs: number;
  /** Undefined: it never answered. */
  readonly responseMs: number | undefined;
  readonly totalMs: number;
};

/** The tally of one endpoint in one worker. */
export class EndpointTally {
  readonly #counts: number[];
  readonly #highest: number[];

  constructor({ counts, highest }: TallyCell) {
    this.#counts = counts;
    this.#highest = highest;
  }

  connected(ms: number): void {
    this.#add('connects', 1);
    this.#spend('connectMs', ms);
  }

  responded(status: number): void {
    const at = AT['1xx'] + Math.trunc(status / 100) - 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  /** Its request is sent again, to another endpoint when this one has failed it. */
  retried(elsewhere: boolean): void {
    this.#add('retries', 1);
    if (elsewhere) this.#add('redispatches', 1);
  }

  finished(session: FinishedSession): void {
    this.#add('received', session.received);
    this.#add('sent', session.sent);
    this.#add('finished', 1);
    this.#spend('waitMs', session.waitMs);
    this.#spend('totalMs', session.totalMs);
    if (session.responseMs !== undefined) {
      this.#add('answered', 1);
      this.#spend('responseMs', session.responseMs);
    }
    if (session.outcome.startsWith('client-')) this.#add('clientAborts', 1);
    else if (session.outcome.startsWith('endpoint-')) this.#add('endpointAborts', 1);
  }

  #spend(name: EndpointPeak, ms: number): void {
    this.#add(name, ms);
    const at = PEAK_AT[name];
    if (ms > (this.#highest[at] ?? 0)) this.#highest[at] = ms;
  }

  #add(name: EndpointCount, value: number): void {
    const at = AT[name];
    this.#counts[at] = (this.#counts[at] ?? 0) + value;
  }
}
