import { invariant } from './errors.ts';

/** One family of series: its name, what it counts, and the labels that its series carry. */
export type MetricFamily = {
  readonly name: string;
  readonly help: string;
  /** A tally is for other renderings than Prometheus'. */
  readonly type: 'counter' | 'gauge' | 'histogram' | 'tally';
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, ascending, without +Inf. */
  readonly buckets?: readonly number[];
  /** What the counts of a tally are. */
  readonly columns?: readonly string[];
  /** What the highest values of a tally are. */
  readonly peaks?: readonly string[];
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

/**
 * A gauge that remembers the highest value of this second and the one before, so that whoever looks
 * once a second misses none, whoever else looks in between.
 */
export class LevelCell {
  value = 0;
  #highest = 0;
  #before = 0;

  get peak(): number {
    return Math.max(this.#highest, this.#before);
  }

  set(value: number): void {
    this.value = value;
    if (value > this.#highest) this.#highest = value;
  }

  /** A second is over. */
  turn(): void {
    this.#before = this.#highest;
    this.#highest = this.value;
  }
}

/**
 * Several counts that are told in one sample, in the order of the family's `columns`; and highest
 * values, in the order of its `peaks`, kept as a level keeps them.
 */
export class TallyCell {
  readonly counts: number[];
  /** Of this second. */
  readonly highest: number[];
  #before: number[];

  constructor({ columns = [], peaks = [] }: Pick<MetricFamily, 'columns' | 'peaks'>) {
    this.counts = columns.map(() => 0);
    this.highest = peaks.map(() => 0);
    this.#before = [...this.highest];
  }

  get peaks(): number[] {
    return this.highest.map((value, at) => Math.max(value, this.#before[at] ?? 0));
  }

  /** A second is over. */
  turn(): void {
    this.#before = [...this.highest];
    this.highest.fill(0);
  }
}

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
  /** Of a level: its highest value in the last two seconds; at least `value`. */
  readonly peak?: number;
  /** The same of a tally. */
  readonly peaks?: readonly number[];
  readonly counts?: readonly number[];
  readonly sum?: number;
};

type AnyCell = Cell | LevelCell | HistogramCell | TallyCell;

function sampleOf(family: string, labels: readonly string[], cell: AnyCell): SeriesSample {
  if (cell instanceof LevelCell) return { family, labels, value: cell.value, peak: cell.peak };
  if (cell instanceof HistogramCell) {
    return { family, labels, counts: [...cell.counts], sum: cell.sum };
  }
  if (cell instanceof TallyCell) {
    return { family, labels, counts: [...cell.counts], peaks: cell.peaks };
  }
  return { family, labels, value: cell.value };
}

/**
 * Holds the series of one process. A series is created when its object is configured, never by
 * what a client sends, so its number is bounded by the configuration.
 */
export class MetricRegistry {
  readonly #families: ReadonlyMap<string, MetricFamily>;
  readonly #series = new Map<
    string,
    { family: MetricFamily; labels: readonly string[]; cell: AnyCell }
  >();

  constructor(catalog: readonly MetricFamily[]) {
    this.#families = new Map(catalog.map((family) => [family.name, family]));
  }

  /** The cell of a counter or gauge, created at 0 when it is new. */
  cell(family: string, ...labels: string[]): Cell {
    return this.#get(family, labels, () => ({ value: 0 })) as Cell;
  }

  /** The cell of a gauge whose highest values are told, created at 0 when it is new. */
  level(family: string, ...labels: string[]): LevelCell {
    return this.#get(family, labels, () => new LevelCell()) as LevelCell;
  }

  /** The cell of a tally, created with every count at 0 when it is new. */
  tally(family: string, ...labels: string[]): TallyCell {
    return this.#get(family, labels, (of) => new TallyCell(of)) as TallyCell;
  }

  /** A second is over for all levels and tallies. */
  turnPeaks(): void {
    for (const { cell } of this.#series.values()) {
      if (cell instanceof LevelCell || cell instanceof TallyCell) cell.turn();
    }
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
      sampleOf(family.name, labels, cell),
    );
  }

  #get(name: string, labels: string[], make: (family: MetricFamily) => AnyCell) {
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
