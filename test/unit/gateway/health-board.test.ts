import assert from 'node:assert/strict';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { ManualClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { MetricRegistry } from '../../../src/base/metrics.ts';
import { HealthBoard } from '../../../src/gateway/health/health-board.ts';
import { METRICS } from '../../../src/gateway/metrics/catalog.ts';
import type { ServiceState } from '../../../src/model/endpoint-state.ts';
import { gatewayConfig } from '../../../src/model/gateway-config.ts';
import { eventually } from '../../support/gateway.ts';

const HOST = '127.0.0.1';

async function listen(): Promise<net.Server> {
  const server = net.createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  return server;
}

const portOf = (server: net.Server) => (server.address() as AddressInfo).port;

/** A board over two listening endpoints, of which a test may close the first. */
async function setUp(t: TestContext, fields: object) {
  const servers = [await listen(), await listen()];
  const ports = servers.map(portOf);
  const clock = new ManualClock();
  const metrics = new MetricRegistry(METRICS);
  let last: ServiceState | undefined;
  const onChange = (state: ServiceState) => {
    last = state;
  };
  const board = new HealthBoard({ clock, logger: silentLogger, metrics, onChange });
  t.after(() => {
    board.close();
    for (const server of servers) server.close();
  });
  const ids = ports.map((port) => `${HOST}:${port}`);
  const configure = (service: object) =>
    board.configure(
      gatewayConfig.parse({ listeners: {}, services: { app: { endpoints: ids, ...service } } }),
      { files: {} },
    );
  configure(fields);
  board.setEndpoints(
    'app',
    ports.map((port, index) => ({
      id: ids[index] ?? '',
      address: { host: HOST, port },
      weight: 1,
      backup: false,
    })),
  );
  await Promise.resolve();
  const first = () => last?.endpoints[0];
  return { board, clock, metrics, configure, first, id: ids[0] ?? '', server: servers[0] };
}

function failing(endpoint: string) {
  return { service: 'app', endpoint, ok: 0, failed: 5, tail: 5, byClass: { status5xx: 5 } };
}

test('a suspect that does not answer is down at once, however many suspect it', async (t) => {
  const { board, metrics, first, id, server } = await setUp(t, { health: { type: 'tcp' } });
  await new Promise((resolve) => server?.close(resolve));
  for (let worker = 0; worker < 4; worker++) board.suspect('app', id);
  await eventually('down', () => first()?.check === 'down');
  assert.equal(metrics.cell('sluice_health_checks_total', 'app', 'failed').value, 1);
});

test('a suspect that answers stays up, and its checks go on at their pace', async (t) => {
  const { board, clock, metrics, first, id } = await setUp(t, { health: { type: 'tcp' } });
  const passed = metrics.cell('sluice_health_checks_total', 'app', 'passed');
  for (let round = 1; round <= 3; round++) {
    board.suspect('app', id);
    board.suspect('app', id);
    await eventually('checked', () => passed.value === round);
  }
  assert.equal(first()?.check, 'up');
  const before = passed.value;
  board.close();
  clock.advance(20_000);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(passed.value, before, 'no check after close');
});

test('live failures eject for a time', async (t) => {
  const { board, clock, first, id } = await setUp(t, { health: false });
  board.reportOutcomes([failing(id)]);
  await Promise.resolve();
  assert.equal(first()?.ejected, true);
  clock.advance(29_000);
  await Promise.resolve();
  assert.equal(first()?.ejected, true);
  clock.advance(2000);
  await Promise.resolve();
  assert.equal(first()?.ejected, false);
});

test('other passive settings return what is ejected', async (t) => {
  for (const passive of [false, { failures: 7 }]) {
    const { board, configure, first, id } = await setUp(t, { health: false });
    board.reportOutcomes([failing(id)]);
    await Promise.resolve();
    assert.equal(first()?.ejected, true);
    configure({ health: false, passive });
    await Promise.resolve();
    assert.equal(first()?.ejected, false);
  }
});

test('refused live traffic is over when checks connect again, an answer of 500 is not', async (t) => {
  for (const [byClass, returns] of [
    [{ refused: 5 }, true],
    [{ status5xx: 5 }, false],
  ] as const) {
    const { board, clock, metrics, first, id } = await setUp(t, { health: { type: 'tcp' } });
    const passed = metrics.cell('sluice_health_checks_total', 'app', 'passed');
    board.reportOutcomes([{ ...failing(id), byClass }]);
    await Promise.resolve();
    assert.equal(first()?.ejected, true);
    for (let round = 1; round <= 3; round++) {
      const before = passed.value;
      clock.advance(2000);
      await eventually('checked', () => passed.value >= before + 2);
    }
    assert.equal(first()?.ejected, !returns, JSON.stringify(byClass));
  }
});

/** A real agent that answers every connection with what it was told last. */
async function agent(t: TestContext) {
  const said = { line: 'up\n', asked: 0, heard: '' };
  const server = net.createServer((socket) => {
    said.asked++;
    socket.on('error', () => {});
    socket.on('data', (data) => {
      said.heard += data;
    });
    socket.end(said.line);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  t.after(() => server.close());
  return { said, server, port: portOf(server) };
}

test('an agent sets weight, limit and state, apart from what an operator ordered', async (t) => {
  const { said, server, port } = await agent(t);
  const set = await setUp(t, { health: false, agentCheck: { port, interval: '1s', send: 'q\\n' } });
  const { board, clock, first, id, metrics } = set;
  const reply = metrics.cell('sluice_agent_checks_total', 'app', 'reply');
  const ask = async (line: string) => {
    said.line = line;
    const before = reply.value;
    clock.advance(1000);
    await eventually('asked', () => reply.value >= before + 2);
    await Promise.resolve();
  };
  await ask('50% maxconn:9\n');
  assert.equal(first()?.weight, 0.5);
  assert.equal(first()?.maxConnections, 9);
  assert.equal(first()?.agent, 'ready');
  await ask('drain#deploy\n');
  assert.equal(first()?.agent, 'drain');
  assert.equal(first()?.reason, 'agent: drain (deploy)');
  assert.equal(first()?.admin, 'ready');
  board.setAdmin('app', id, 'drain');
  await ask('ready up 100%\n');
  assert.deepEqual([first()?.agent, first()?.admin, first()?.weight], ['ready', 'drain', 1]);
  board.setAdmin('app', id, 'ready');
  board.setWeight('app', id, 7);
  await ask('weight:3 stopped#full\n');
  assert.deepEqual([first()?.agent, first()?.weight], ['down', 7]);
  assert.equal(said.heard.slice(0, 2), 'q\n');
  await new Promise((resolve) => server.close(resolve));
  const unreachable = metrics.cell('sluice_agent_checks_total', 'app', 'unreachable');
  clock.advance(1000);
  await eventually('unreachable', () => unreachable.value >= 2);
  assert.equal(first()?.agent, 'down', 'no answer changes nothing');
  const last = board.events.filter(({ endpoint }) => endpoint === id).at(-1);
  assert.equal(last?.reason, 'agent: down (full)');
});

test('another interval keeps what the agent ordered; without a check the order is void', async (t) => {
  const { said, port } = await agent(t);
  said.line = 'maint\n';
  const settings = { health: false, agentCheck: { port, interval: '1s' } };
  const { clock, configure, first } = await setUp(t, settings);
  clock.advance(1000);
  await eventually('maint', () => first()?.agent === 'maint');
  configure({ health: false, agentCheck: { port, interval: '2s' } });
  await Promise.resolve();
  assert.equal(first()?.agent, 'maint');
  configure({ health: false });
  await Promise.resolve();
  assert.equal(first()?.agent, undefined);
});
