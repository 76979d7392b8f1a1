import { invariant } from './errors.ts';

/** One family of series: its name, what it counts, and the labels that its series carry. */
export type MetricFamily = {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending, without +Inf. */
  readonly buckets?: readonly number[];
  /** How workers' values combine; `sum` unless said. */
  readonly merge?: 'sum' | 'max';
};

/** What a family of metrics is about. */
export const METRIC_SCOPES = ['process', 'listener', 'route', 'service', 'endpoint'] as const;
export type MetricScope = (typeof METRIC_SCOPES)[number];

/** Which families to tell: those of any of the scopes, and of them those that are named. */
export type MetricFilter = {
  /** Empty: all. */
  readonly scopes: readonly MetricScope[];
  /** Empty: all; with a leading `-` all but them. */
  readonly names: readonly string[];
};

/** One series of a counter or gauge: hot paths hold it and change `value` directly. */
export type Cell = { value: number };

/** One series of a histogram. */
export class HistogramCell {
  readonly counts: number[];
  sum = 0;
  readonly #bounds: readonly number[];

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value <= (bounds[middle] as number)) high = middle;
      else low = middle + 1;
    }
    this.counts[low] = (this.counts[low] as number) + 1;
    this.sum += value;
  }
}

/** One series as it travels between processes: label values in the family's order. */
export type SeriesSample = {
  readonly family: string;
  readonly labels: readonly string[];
  readonly value?: number;
  readonly counts?: readonly number[];
  readonly sum?: number;
};

/**
 * Holds the series of one process. A series is created when its object is configured, never by
 * what a client sends, so its number is bounded by the configuration.
 */
export class MetricRegistry {
  readonly #families: ReadonlyMap<string, MetricFamily>;
  readonly #series = new Map<
    string,
    { family: MetricFamily; labels: readonly string[]; cell: Cell | HistogramCell }
  >();

  constructor(catalog: readonly MetricFamily[]) {
    this.#families = new Map(catalog.map((family) => [family.name, family]));
  }

  /** The cell of a counter or gauge, created at 0 when it is new. */
  cell(family: string, ...labels: string[]): Cell {
    return this.#get(family, labels, () => ({ value: 0 })) as Cell;
  }

  /** The cell of a histogram, created empty when it is new. */
  histogram(family: string, ...labels: string[]): HistogramCell {
    const make = (of: MetricFamily) => new HistogramCell(of.buckets ?? []);
    return this.#get(family, labels, make) as HistogramCell;
  }

  /** Forgets every series whose labels match, when its object is gone. */
  remove(matches: (family: MetricFamily, labels: readonly string[]) => boolean): void {
    for (const [key, { family, labels }] of this.#series) {
      if (matches(family, labels)) this.#series.delete(key);
    }
  }

  /** Every series, as values that can be sent to another process. */
  samples(): SeriesSample[] {
    return [...this.#series.values()].map(({ family, labels, cell }) =>
      cell instanceof HistogramCell
        ? { family: family.name, labels, counts: [...cell.counts], sum: cell.sum }
        : { family: family.name, labels, value: cell.value },
    );
  }

  #get(name: string, labels: string[], make: (family: MetricFamily) => Cell | HistogramCell) {
    const key = `${name}\u0000${labels.join('\u0000')}`;
    const known = this.#series.get(key);
    if (known) return known.cell;
    const family = this.#families.get(name);
    invariant(family, `metric ${name} is in the catalog`);
    invariant(labels.length === family.labels.length, `metric ${name} takes ${family.labels}`);
    const cell = make(family);
    this.#series.set(key, { family, labels, cell });
    return cell;
  }
}
