import type { MetricFamily, SeriesSample } from '../base/metrics.ts';
import type { Engine } from './engine.ts';

/** What the engine tells of networks and containers. */
export const ENGINE_METRICS: readonly MetricFamily[] = [
  {
    name: 'sluice_engine_containers',
    help: 'Containers by their state.',
    type: 'gauge',
    labels: ['state'],
  },
  {
    name: 'sluice_engine_networks',
    help: 'Networks by their driver.',
    type: 'gauge',
    labels: ['driver'],
  },
  {
    name: 'sluice_engine_network_addresses_used',
    help: 'Addresses of a network that are in use, its gateway among them.',
    type: 'gauge',
    labels: ['network'],
  },
  {
    name: 'sluice_engine_addresses_exhausted_total',
    help: 'How often a network had no address left to hand out.',
    type: 'counter',
    labels: [],
  },
  {
    name: 'sluice_engine_containers_unhealthy',
    help: 'Running containers whose health check fails.',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'sluice_engine_container_restarts',
    help: 'How often containers that are there were started again by their restart rules, since they were last started by order.',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'sluice_engine_agent_connected',
    help: 'Whether the agent takes orders: 1, or 0 while networks keep their last state.',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'sluice_engine_events_total',
    help: 'Events since the daemon has started.',
    type: 'counter',
    labels: [],
  },
  {
    name: 'sluice_engine_published_ports',
    help: 'Ports of the host that containers hold.',
    type: 'gauge',
    labels: [],
  },
  {
    name: 'sluice_engine_plugin_debts',
    help: 'What third-party drivers hold and are yet to be told to let go of, at most 10,000.',
    type: 'gauge',
    labels: [],
  },
];

function counts(keys: readonly string[]): Map<string, number> {
  const counted = new Map<string, number>();
  for (const key of keys) counted.set(key, (counted.get(key) ?? 0) + 1);
  return counted;
}

/** The figures of an engine at this moment. */
export function engineSamples(engine: Engine): SeriesSample[] {
  const { registry, events, remote, agentConnected } = engine;
  const containers = [...registry.containers];
  const networks = [...registry.networks];
  const one = (family: string, value: number, ...labels: string[]): SeriesSample => ({
    family,
    labels,
    value,
  });
  const states = counts(containers.map(({ state }) => state.status));
  const drivers = counts(networks.map(({ driver }) => driver));
  const sick = containers.filter(({ state }) => state.health?.status === 'unhealthy');
  const restarts = containers.reduce((sum, { state }) => sum + state.restartCount, 0);
  const ports = containers.reduce((sum, { bindings }) => sum + bindings.length, 0);
  return [
    ...[...states].map(([state, count]) => one('sluice_engine_containers', count, state)),
    ...[...drivers].map(([driver, count]) => one('sluice_engine_networks', count, driver)),
    ...networks.map(({ id, name }) =>
      one('sluice_engine_network_addresses_used', registry.addresses(id).used, name),
    ),
    one('sluice_engine_addresses_exhausted_total', registry.exhausted),
    one('sluice_engine_containers_unhealthy', sick.length),
    one('sluice_engine_container_restarts', restarts),
    one('sluice_engine_agent_connected', agentConnected ? 1 : 0),
    one('sluice_engine_events_total', events.count),
    one('sluice_engine_published_ports', ports),
    one('sluice_engine_plugin_debts', remote.debts.size),
  ];
}
