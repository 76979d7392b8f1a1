import type { MetricFamily, SeriesSample } from '../../base/metrics.ts';

type Totals = Map<string, SeriesSample>;

function keyOf({ family, labels }: SeriesSample): string {
  return `${family}\u0000${labels.join('\u0000')}`;
}

/** Adds up the series of several processes; what a dead one has counted stays counted. */
export class MetricAggregator {
  readonly #families: ReadonlyMap<string, MetricFamily>;
  readonly #live = new Map<string, readonly SeriesSample[]>();
  readonly #retired: Totals = new Map();

  constructor(catalog: readonly MetricFamily[]) {
    this.#families = new Map(catalog.map((family) => [family.name, family]));
  }

  /** Takes the newest figures of a process, which replace its earlier ones. */
  update(source: string, samples: readonly SeriesSample[]): void {
    this.#live.set(source, samples);
  }

  /** Keeps the counts of a process that has ended; its gauges go with it. */
  retire(source: string): void {
    const counted = (this.#live.get(source) ?? []).filter(
      ({ family }) => this.#families.get(family)?.type !== 'gauge',
    );
    this.#live.delete(source);
    // Highest values are of the last seconds, which a dead process has none of.
    for (const { peaks: _, ...sample } of counted) this.#add(this.#retired, sample);
  }

  /** Forgets what ended processes counted of objects that are gone. */
  prune(keep: (sample: SeriesSample) => boolean): void {
    for (const [key, sample] of this.#retired) if (!keep(sample)) this.#retired.delete(key);
  }

  /** Every series over all processes. */
  samples(): SeriesSample[] {
    const totals: Totals = new Map(this.#retired);
    for (const samples of this.#live.values())
      for (const sample of samples) this.#add(totals, sample);
    return [...totals.values()];
  }

  #add(totals: Totals, sample: SeriesSample): void {
    const key = keyOf(sample);
    const known = totals.get(key);
    const max = this.#families.get(sample.family)?.merge === 'max';
    totals.set(key, known ? combine(known, sample, max) : sample);
  }
}

function combine(a: SeriesSample, b: SeriesSample, max: boolean): SeriesSample {
  if (a.counts && b.counts) {
    const counts = a.counts.map((count, index) => count + (b.counts?.[index] ?? 0));
    const sum = (a.sum ?? 0) + (b.sum ?? 0);
    const peaks = a.peaks?.map((peak, index) => Math.max(peak, b.peaks?.[index] ?? 0)) ?? b.peaks;
    return { ...a, counts, sum, ...(peaks && { peaks }) };
  }
  const [left, right] = [a.value ?? 0, b.value ?? 0];
  const value = max ? Math.max(left, right) : left + right;
  if (a.peak === undefined && b.peak === undefined) return { ...a, value };
  return { ...a, value, peak: (a.peak ?? left) + (b.peak ?? right) };
}
