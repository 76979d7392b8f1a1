import { invalid } from '../../base/faults.ts';
import type { Engine } from '../../control/engine.ts';
import type { WaitCondition } from '../../control/waiters.ts';
import type { Container } from '../../model/container.ts';
import {
  containerOrder,
  givenLimits,
  isEmpty,
  restartRule,
  warningsOf,
  withoutEffect,
} from './container-request.ts';
import { containerDetail, containerRow } from './container-view.ts';
import { Fields } from './fields.ts';
import { type Call, created, done, ok, type Route } from './http.ts';
import { Filters, nameFits, type Query } from './query.ts';
import { statsView } from './stats-view.ts';

const LIST_FILTERS = [
  ...['ancestor', 'before', 'expose', 'exited', 'health', 'id', 'is-task', 'label', 'label!'],
  ...['name', 'network', 'publish', 'since', 'status', 'volume'],
];
const PRUNE_FILTERS = ['label', 'label!', 'until'];
const CONDITIONS: readonly string[] = ['not-running', 'next-exit', 'removed'];
const STATS_EVERY_MS = 1000;

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function portFits(wanted: string, ports: readonly { port: number; transport: string }[]): boolean {
  const [, low, high = low, transport = 'tcp'] =
    /^(\d+)(?:-(\d+))?(?:\/(\w+))?$/.exec(wanted) ?? [];
  if (low === undefined) throw invalid(`invalid filter value '${wanted}'`);
  return ports.some(
    (one) => one.port >= Number(low) && one.port <= Number(high) && one.transport === transport,
  );
}

function healthOf({ state }: Container): string {
  return state.health?.status ?? 'none';
}

function onNetwork({ attachments, spec }: Container, wanted: string): boolean {
  if (spec.mode.kind === wanted) return true;
  return attachments.some(
    ({ networkId, networkName }) => networkName === wanted || networkId.startsWith(wanted),
  );
}

function matcher({ registry }: Engine, filters: Filters): (container: Container) => boolean {
  const bound = (name: 'before' | 'since') =>
    filters.values(name).map((value) => registry.container(value).created)[0];
  const [before, since] = [bound('before'), bound('since')];
  const isTask = filters.flag('is-task');
  return (container) => {
    const { id, name, spec, state, bindings, created: made } = container;
    return (
      isTask !== true &&
      (before === undefined || made < before) &&
      (since === undefined || made > since) &&
      filters.labels(spec.labels) &&
      filters.any('id', (wanted) => id.startsWith(wanted)) &&
      filters.any('name', (wanted) => nameFits(wanted.replace(/^\//, ''), name)) &&
      filters.any('status', (wanted) => state.status === wanted) &&
      filters.any(
        'exited',
        (wanted) => state.status === 'exited' && state.exitCode === Number(wanted),
      ) &&
      filters.any('health', (wanted) => healthOf(container) === wanted) &&
      filters.any('network', (wanted) => onNetwork(container, wanted)) &&
      filters.any('ancestor', (wanted) => [spec.image, `${spec.image}:latest`].includes(wanted)) &&
      filters.any('volume', (wanted) =>
        spec.mounts.some(({ source, target }) => source === wanted || target === wanted),
      ) &&
      filters.any(
        'publish',
        (wanted) =>
          portFits(
            wanted,
            bindings.map(({ hostPort, transport }) => ({ port: hostPort, transport })),
          ) || portFits(wanted, bindings),
      ) &&
      filters.any('expose', (wanted) => portFits(wanted, spec.exposed))
    );
  };
}

function list(engine: Engine, query: Query): unknown[] {
  const filters = Filters.parse(query.text('filters'), LIST_FILTERS);
  const fits = matcher(engine, filters);
  const limit = query.number('limit') ?? 0;
  const asksState = filters.has('status') || filters.has('exited') || filters.has('health');
  const all = query.flag('all') || limit > 0 || asksState;
  const rows = [...engine.registry.containers]
    .filter((one) => all || !['created', 'exited'].includes(one.state.status))
    .filter(fits)
    .sort((a, b) => (a.created < b.created ? 1 : -1));
  const shown = limit > 0 ? rows.slice(0, limit) : rows;
  return shown.map((container) => ({
    ...containerRow(container, engine, Date.now()),
    ...(query.flag('size') ? { SizeRw: 0, SizeRootFs: 0 } : {}),
  }));
}

async function wait(engine: Engine, call: Call): Promise<undefined> {
  const given = call.query.text('condition') || 'not-running';
  if (!CONDITIONS.includes(given)) throw invalid(`invalid condition: "${given}"`);
  // exempt(as): checked in the line before
  const waiting = engine.containers.lifecycle.wait(key(call), given as WaitCondition);
  const { response } = call;
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  call.lasts();
  response.on('close', waiting.cancel);
  const { exitCode, error } = await waiting.result;
  const answer = {
    StatusCode: exitCode,
    ...(error === undefined ? {} : { Error: { Message: error } }),
  };
  response.end(`${JSON.stringify(answer)}\n`);
  return undefined;
}

async function stats(engine: Engine, call: Call): Promise<undefined> {
  const container = engine.registry.container(key(call));
  const { response, query } = call;
  const stream = !query.has('stream') || query.flag('stream');
  let previous: Record<string, unknown> = {};
  const send = async () => {
    const figures = await engine.containers.stats(container.id);
    previous = statsView(container, figures, previous);
    response.write(`${JSON.stringify(previous)}\n`);
  };
  const first = await engine.containers.stats(container.id);
  response.writeHead(200, { 'content-type': 'application/json' });
  if (!stream) {
    response.end(`${JSON.stringify(statsView(container, first, {}))}\n`);
    return undefined;
  }
  await send();
  call.lasts(() => response.end());
  const timer = setInterval(() => {
    send().catch(() => response.end());
  }, STATS_EVERY_MS);
  response.on('close', () => clearInterval(timer));
  return undefined;
}

function stopOptions({ query }: Call) {
  const seconds = query.number('t');
  return {
    signal: query.text('signal') || undefined,
    timeoutMs: seconds === undefined ? undefined : seconds * 1000,
  };
}

async function create(engine: Engine, { body, query }: Call) {
  const fields = await body();
  const { enabled } = engine.options.defaultBridge;
  const order = containerOrder(
    fields,
    query.text('name') || undefined,
    enabled ? 'bridge' : 'none',
  );
  const { id, warnings } = await engine.containers.create(order);
  return created({ Id: id, Warnings: [...warnings, ...warningsOf(fields)] });
}

async function prune({ containers }: Engine, { query }: Call) {
  const filters = Filters.parse(query.text('filters'), PRUNE_FILTERS);
  const until = filters.until(Date.now());
  const removed = await containers.prune(
    ({ spec, created: made }) =>
      filters.labels(spec.labels) && (until === undefined || Date.parse(made) < until),
  );
  return ok({ ContainersDeleted: removed, SpaceReclaimed: 0 });
}

async function update({ containers }: Engine, call: Call) {
  const body = await call.body();
  const given = body.fields('RestartPolicy').text('Name') !== '';
  const set = Object.entries(body.raw).filter(([, value]) => !isEmpty(value));
  await containers.update(key(call), {
    limits: givenLimits(body),
    restart: given ? restartRule(body) : undefined,
    asked: (before) => {
      const { raw } = new Fields(before);
      return { ...raw, HostConfig: { ...Object(raw['HostConfig']), ...Object.fromEntries(set) } };
    },
  });
  return ok({ Warnings: withoutEffect(body) });
}

/** Containers: everything but their streams. */
export function containerRoutes(engine: Engine): Route[] {
  const { containers, registry } = engine;
  const { lifecycle } = containers;
  const order = (action: string, run: (call: Call) => Promise<void>): Route => ({
    method: 'POST',
    path: `/containers/:id/${action}`,
    run: async (call) => {
      await run(call);
      return done;
    },
  });
  return [
    { method: 'GET', path: '/containers/json', run: ({ query }) => ok(list(engine, query)) },
    { method: 'POST', path: '/containers/create', run: (call) => create(engine, call) },
    { method: 'POST', path: '/containers/prune', run: (call) => prune(engine, call) },
    {
      method: 'GET',
      path: '/containers/:id/json',
      run: (call) => ok(containerDetail(registry.container(key(call)), engine)),
    },
    order('start', (call) => lifecycle.start(key(call))),
    order('stop', (call) => lifecycle.stop(key(call), stopOptions(call))),
    order('restart', (call) => lifecycle.restart(key(call), stopOptions(call))),
    order('kill', (call) => lifecycle.kill(key(call), call.query.text('signal'))),
    order('pause', (call) => lifecycle.pause(key(call))),
    order('unpause', (call) => lifecycle.unpause(key(call))),
    order('rename', (call) => containers.rename(key(call), call.query.text('name'))),
    { method: 'POST', path: '/containers/:id/wait', run: (call) => wait(engine, call) },
    { method: 'POST', path: '/containers/:id/update', run: (call) => update(engine, call) },
    {
      method: 'POST',
      path: '/containers/:id/resize',
      run: async (call) => {
        const { query } = call;
        await containers.resize(key(call), query.number('w') ?? 0, query.number('h') ?? 0);
        return ok(undefined);
      },
    },
    {
      method: 'DELETE',
      path: '/containers/:id',
      run: async (call) => {
        const { query } = call;
        await containers.remove(key(call), query.flag('force'), query.flag('v'));
        return done;
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/top',
      run: async (call) => {
        const args = (call.query.text('ps_args') || '-ef').split(/\s+/);
        const [titles = [], ...rows] = await containers.top(key(call), args);
        return ok({ Titles: titles, Processes: rows });
      },
    },
    { method: 'GET', path: '/containers/:id/stats', run: (call) => stats(engine, call) },
  ];
}
