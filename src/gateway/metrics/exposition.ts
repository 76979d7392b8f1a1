import { collectDefaultMetrics, Registry } from 'prom-client';
import {
  METRIC_SCOPES,
  type MetricFamily,
  type MetricFilter,
  type MetricScope,
  type SeriesSample,
} from '../../base/metrics.ts';

type Value = { metricName?: string; labels: Record<string, string | number>; value: number };

function valuesOf(family: MetricFamily, sample: SeriesSample): Value[] {
  const labels = Object.fromEntries(
    family.labels.map((name, index) => [name, sample.labels[index] ?? '']),
  );
  if (!sample.counts) return [{ labels, value: sample.value ?? 0 }];
  let count = 0;
  const buckets = sample.counts.map((own, index) => {
    count += own;
    const le = family.buckets?.[index] ?? '+Inf';
    return { metricName: `${family.name}_bucket`, labels: { ...labels, le }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${family.name}_sum`, labels, value: sample.sum ?? 0 },
    { metricName: `${family.name}_count`, labels, value: count },
  ];
}

/** Gauges of the library with a counter's name; the same figures come under right names too. */
const MISNAMED = ['handles', 'requests', 'resources'].map((what) => `nodejs_active_${what}_total`);

/** HAProxy's words for what a family is about. */
const FOREIGN: Readonly<Record<string, MetricScope>> = {
  frontend: 'listener',
  backend: 'service',
  server: 'endpoint',
};

function scopeOf({ name, labels }: MetricFamily): MetricScope {
  const foreign = FOREIGN[/^haproxy_([a-z]+)_/.exec(name)?.[1] ?? ''];
  if (foreign) return foreign;
  const kind = labels.includes('endpoint') ? 'endpoint' : labels.includes('route') ? 'route' : '';
  return kind || METRIC_SCOPES.find((scope) => scope === labels[0]) || 'process';
}

/** Renders series in the Prometheus text format; `ownProcess`: with figures of this process. */
export class Exposition {
  readonly #registry = new Registry();
  readonly #scopes: ReadonlyMap<string, MetricScope>;
  #samples = new Map<string, SeriesSample[]>();

  constructor(catalog: readonly MetricFamily[], ownProcess = true) {
    this.#scopes = new Map(catalog.map((family) => [family.name, scopeOf(family)]));
    if (ownProcess) collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED) this.#registry.removeSingleMetric(name);
    for (const family of catalog) {
      const metric = {
        name: family.name,
        get: async () => ({
          name: family.name,
          help: family.help,
          type: family.type,
          aggregator: 'sum',
          values: (this.#samples.get(family.name) ?? []).flatMap((sample) =>
            valuesOf(family, sample),
          ),
        }),
        reset() {},
      };
      // exempt(as): the registry needs `name` and `get` only; its types ask for its own classes.
      this.#registry.registerMetric(metric as never);
    }
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Without a filter everything. */
  async render(samples: readonly SeriesSample[], filter?: MetricFilter): Promise<string> {
    this.#samples = Map.groupBy(samples, ({ family }) => family);
    if (!filter) return this.#registry.metrics();
    const names = this.#registry.getMetricsAsArray().map(({ name }) => name);
    const texts = names
      .filter((name) => this.#passes(name, filter))
      .map((name) => this.#registry.getSingleMetricAsString(name));
    return `${(await Promise.all(texts)).join('\n\n')}\n`;
  }

  #passes(name: string, { scopes, names }: MetricFilter): boolean {
    if (scopes.length > 0 && !scopes.includes(this.#scopes.get(name) ?? 'process')) return false;
    if (names.includes(`-${name}`)) return false;
    return names.every((one) => one.startsWith('-')) || names.includes(name);
  }
}
