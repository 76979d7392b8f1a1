import type { SeriesSample } from '../../base/metrics.ts';

/** Counters whose rate is told, with how many of their labels name what they are of. */
const RATED: Readonly<Record<string, number>> = {
  sluice_listener_connections_total: 1,
  sluice_listener_requests_total: 1,
  sluice_listener_bytes_sent_total: 1,
  sluice_tls_handshakes_total: 1,
  sluice_service_requests_total: 1,
  sluice_endpoint_requests_total: 2,
};
const SPAN_MS = 900;

/** How one counter moves: events in the last second, and the most that there ever were in one. */
export type Rate = { now: number; most: number };

type Series = Pick<SeriesSample, 'family' | 'labels'>;

type Rated = Series &
  Rate & {
    /** At the last look that told a rate, and at the last one of all. */
    total: number;
    seen: number;
    movedAt: number | undefined;
  };

type Total = Series & { total: number };

const NO_RATE: Rate = { now: 0, most: 0 };

function keyOf(family: string, labels: readonly string[]): string {
  return [family, ...labels].join('\u0000');
}

/**
 * What single figures cannot tell: highest values, rates, and how long ago something last
 * happened. Looked at once a second; what is gone in between two looks is known from the peaks that
 * workers report. Those of several workers are added up, though they need not have been at once.
 */
export class StatHistory {
  readonly #rates = new Map<string, Rated>();
  readonly #peaks = new Map<string, Series & { peak: number }>();
  readonly #tallies = new Map<string, Series & { peaks: readonly number[] }>();
  #lookedAt: number | undefined;

  /** Takes all series as they are now, in ms. */
  take(samples: readonly SeriesSample[], now: number): void {
    for (const { family, labels, peak, peaks } of samples) {
      if (peaks) this.#takePeaks({ family, labels, peaks });
      if (peak === undefined) continue;
      const key = keyOf(family, labels);
      const before = this.#peaks.get(key)?.peak ?? 0;
      this.#peaks.set(key, { family, labels, peak: Math.max(peak, before) });
    }
    const totals = totalsOf(samples);
    const first = this.#lookedAt === undefined;
    for (const [key, total] of totals) this.#see(key, total, first, now);
    const spanMs = now - (this.#lookedAt ?? now);
    if (!first && spanMs < SPAN_MS) return;
    this.#lookedAt = now;
    for (const [key, { total }] of totals) this.#rate(key, total, spanMs);
  }

  /** Forgets what is of objects that are gone. */
  prune(keep: (series: Series) => boolean): void {
    for (const known of [this.#peaks, this.#tallies, this.#rates]) {
      for (const [key, series] of known) {
        if (series.labels.length > 0 && !keep(series)) known.delete(key);
      }
    }
  }

  /** Highest values and rates begin anew. */
  clear(): void {
    this.#peaks.clear();
    this.#tallies.clear();
    for (const rated of this.#rates.values()) rated.most = 0;
  }

  /** The highest value that a level has had. */
  peak(family: string, ...labels: string[]): number {
    return this.#peaks.get(keyOf(`sluice_${family}`, labels))?.peak ?? 0;
  }

  /** The highest values of a tally. */
  peaks(family: string, ...labels: string[]): readonly number[] | undefined {
    return this.#tallies.get(keyOf(`sluice_${family}`, labels))?.peaks;
  }

  /** Of one object; without labels, of all that the family is about. */
  rate(family: string, ...labels: string[]): Rate {
    return this.#rates.get(keyOf(`sluice_${family}`, labels)) ?? NO_RATE;
  }

  /** Whole seconds since a counter last moved; -1: it never did while it was looked at. */
  idleSeconds(now: number, family: string, ...labels: string[]): number {
    const movedAt = this.#rates.get(keyOf(`sluice_${family}`, labels))?.movedAt;
    return movedAt === undefined ? -1 : Math.max(0, Math.floor((now - movedAt) / 1000));
  }

  #takePeaks(of: Series & { peaks: readonly number[] }): void {
    const key = keyOf(of.family, of.labels);
    const before = this.#tallies.get(key)?.peaks;
    const peaks = of.peaks.map((peak, at) => Math.max(peak, before?.[at] ?? 0));
    this.#tallies.set(key, { ...of, peaks });
  }

  #see(key: string, of: Total, first: boolean, now: number): void {
    const { total } = of;
    const known = this.#rates.get(key);
    if (!known) {
      // What was counted before the first look came at no known time.
      const before = first ? total : 0;
      const movedAt = total > before ? now : undefined;
      this.#rates.set(key, { ...of, now: 0, most: 0, total: before, seen: total, movedAt });
      return;
    }
    if (total > known.seen) known.movedAt = now;
    known.seen = total;
  }

  #rate(key: string, total: number, spanMs: number): void {
    const known = this.#rates.get(key);
    if (!known) return;
    // A counter that went back belongs to an object that was made anew.
    const moved = Math.max(0, total - known.total);
    known.now = spanMs > 0 ? Math.round((moved * 1000) / spanMs) : 0;
    known.most = Math.max(known.most, known.now);
    known.total = total;
  }
}

/** Totals of the counters by what they are of, and of each family as a whole. */
function totalsOf(samples: readonly SeriesSample[]): Map<string, Total> {
  const totals = new Map<string, Total>();
  for (const { family, labels, value = 0 } of samples) {
    const named = RATED[family];
    if (named === undefined) continue;
    for (const own of [labels.slice(0, named), []]) {
      const key = keyOf(family, own);
      const known = totals.get(key);
      if (known) known.total += value;
      else totals.set(key, { family, labels: own, total: value });
    }
  }
  return totals;
}
