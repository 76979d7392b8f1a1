import type { SeriesSample } from '../../base/metrics.ts';

/** Sums of the gateway's own series, by family and leading labels. */
export class Figures {
  readonly #byFamily: ReadonlyMap<string, readonly SeriesSample[]>;
  /** By family and first label, which every figure of one listener or service is asked for with. */
  readonly #byOwner: ReadonlyMap<string, readonly SeriesSample[]>;

  constructor(samples: readonly SeriesSample[]) {
    this.#byFamily = Map.groupBy(samples, ({ family: name }) => name);
    this.#byOwner = Map.groupBy(samples, ({ family: name, labels }) => `${name} ${labels[0]}`);
  }

  of(name: string, owner?: string, ...labels: string[]): readonly SeriesSample[] {
    const full = `sluice_${name}`;
    if (owner === undefined) return this.#byFamily.get(full) ?? [];
    const all = this.#byOwner.get(`${full} ${owner}`) ?? [];
    return all.filter((sample) => labels.every((label, at) => sample.labels[at + 1] === label));
  }

  sum(name: string, ...labels: string[]): number {
    const [owner, ...rest] = labels;
    return this.of(name, owner, ...rest).reduce((sum, { value = 0 }) => sum + value, 0);
  }

  /** How often a histogram has observed something. */
  count(name: string, label: string): number {
    const all = this.of(name, label).flatMap(({ counts = [] }) => counts);
    return all.reduce((sum, one) => sum + one, 0);
  }

  /** Mean of what a histogram has observed, in seconds; undefined when that is nothing. */
  mean(name: string, label: string): number | undefined {
    const count = this.count(name, label);
    const sum = this.of(name, label).reduce((all, sample) => all + (sample.sum ?? 0), 0);
    return count === 0 ? undefined : sum / count;
  }
}
