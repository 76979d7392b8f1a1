import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawn } from 'node:child_process';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { type Held, hold } from '../support/attack.ts';
import { Backend } from '../support/backend.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { startCanary, startLoad } from '../support/load.ts';
import { netnsUnavailable, run } from '../support/netns.ts';
import { tcpStates } from '../support/processes.ts';

/*
 * Peers that vanish: a cable is pulled, a host loses power, a path drops everything. The daemon
 * runs in a network namespace of its own; its peers are in others, where a table can drop all.
 */
const INSIDE = 'SLUICE_TEST_IN_NAMESPACE';
const CLIENTS = new URL('../support/vanishing-clients.ts', import.meta.url).pathname;
const SERVER = new URL('../support/backend-server.ts', import.meta.url).pathname;
const COUNT = 50;
const PUSH_MS = 100;
const HALF_OPEN = 10_000;

/** Another host: a namespace behind a link of its own. */
class Host {
  readonly name: string;
  readonly address: string;
  /** Where it reaches the gateway. */
  readonly gateway: string;

  constructor(t: TestContext, number: number) {
    this.name = `slv${process.pid}n${number}`;
    this.address = `10.99.${number}.2`;
    this.gateway = `10.99.${number}.1`;
    const link = `v${number}`;
    run('ip', 'netns', 'add', this.name);
    t.after(() => run('ip', 'netns', 'delete', this.name));
    run(...words(`ip link add ${link} type veth peer name eth0 netns ${this.name}`));
    run(...words(`ip addr add ${this.gateway}/24 dev ${link}`));
    run(...words(`ip link set ${link} up`));
    this.run(...words('ip link set lo up'));
    this.run(...words(`ip addr add ${this.address}/24 dev eth0`));
    this.run(...words('ip link set eth0 up'));
  }

  run(...argv: string[]): string {
    return run('nsenter', `--net=/run/netns/${this.name}`, ...argv);
  }

  fork(t: TestContext, file: string): ChildProcess {
    const execArgv = [`--net=/run/netns/${this.name}`, process.execPath];
    const child = fork(file, { execPath: 'nsenter', execArgv, stdio: [0, 1, 2, 'ipc'] });
    t.after(() => child.kill());
    return child;
  }

  /** Nothing leaves and nothing arrives any more. */
  vanish(): void {
    for (const hook of ['input', 'output']) this.#drop(hook, 'counter drop');
  }

  /** Handshakes end after the server's answer: whatever it is told besides a SYN is lost. */
  dropAcknowledgements(): void {
    this.#drop('output', 'tcp flags & (syn | ack) == ack counter drop');
  }

  /** Packets that were dropped. */
  get dropped(): number {
    const counts = this.run('nft', 'list', 'ruleset').matchAll(/packets (\d+)/g);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  #drop(hook: string, rule: string): void {
    this.run('nft', 'add table inet cut');
    this.run('nft', `add chain inet cut ${hook} { type filter hook ${hook} priority 0; }`);
    this.run('nft', `add rule inet cut ${hook} ${rule}`);
  }
}

function words(line: string): [string, ...string[]] {
  const [first = '', ...rest] = line.split(' ');
  return [first, ...rest];
}

type Opening = { host: string; port: number; count: number; send: string };

/** How many connections clients of another host have opened. */
function open(child: ChildProcess, opening: Opening): Promise<number> {
  return new Promise((resolve) => {
    child.once('message', (count) => resolve(Number(count)));
    child.send(opening);
  });
}

/** Takes any bytes; sends some all the time to whoever asks for that, and upgrades HTTP. */
async function startChatty(t: TestContext): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let pushing: NodeJS.Timeout | undefined;
    socket.on('error', () => {});
    socket.on('close', () => clearInterval(pushing));
    socket.once('data', (data) => {
      const text = data.toString();
      if (text.startsWith('GET')) {
        socket.write('HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
      }
      if (text.includes('push')) pushing = setInterval(() => socket.write('news'), PUSH_MS);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as net.AddressInfo).port;
}

/** When each listener's connections were gone, in ms from now; waits for all of them. */
async function untilGone(gateway: Gateway, names: readonly string[], timeoutMs: number) {
  const from = performance.now();
  const gone = new Map<string, number>();
  await eventually(
    'the connections are gone',
    async () => {
      for (const name of names.filter((one) => !gone.has(one))) {
        const series = `sluice_listener_connections_active{listener="${name}"}`;
        if ((await gateway.metric(series)) === 0) gone.set(name, performance.now() - from);
      }
      return gone.size === names.length;
    },
    timeoutMs,
  );
  return gone;
}

const LISTENERS = ['web', 'socket', 'raw', 'quick', 'busy'];
const UPGRADE =
  'GET /push HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';

async function clientsVanish(t: TestContext) {
  const host = new Host(t, 1);
  const [backendPort = 0, ...ports] = await freePorts(1 + LISTENERS.length);
  const [web = 0, socket = 0, raw = 0, quick = 0, busy = 0] = ports;
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  t.after(() => backend.kill());
  const chatty = await startChatty(t);
  const tcp = 'protocol: tcp, service: chatty';
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "0.0.0.0:${web}", protocol: http, service: app, timeouts: { idle: 10m } }
  socket: { bind: "0.0.0.0:${socket}", protocol: http, service: chatty }
  raw: { bind: "0.0.0.0:${raw}", ${tcp} }
  quick: { bind: "0.0.0.0:${quick}", ${tcp}, timeouts: { unacknowledged: 4s } }
  busy: { bind: "0.0.0.0:${busy}", ${tcp}, timeouts: { unacknowledged: 4s } }
services:
  app: { endpoints: ["127.0.0.1:${backendPort}"] }
  chatty: { endpoints: ["127.0.0.1:${chatty}"], health: false }
`,
    { workers: 2 },
  );
  t.after(() => gateway.stop());
  const clients = host.fork(t, CLIENTS);
  for (const [port, send] of [
    [web, GET],
    [socket, UPGRADE],
    [raw, 'quiet'],
    [quick, 'quiet'],
    [busy, 'push'],
  ] as const) {
    assert.equal(await open(clients, { host: host.gateway, port, count: COUNT, send }), COUNT);
  }
  for (const name of LISTENERS) {
    const active = `sluice_listener_connections_active{listener="${name}"}`;
    await eventually('all are open', async () => (await gateway.metric(active)) === COUNT);
  }
  host.vanish();
  const canary = await startCanary(t, { port: web });
  // The canary's own connection goes on living on `web`, so it asks there only for a while.
  await new Promise((resolve) => setTimeout(resolve, 5000));
  canary.stop();
  const felt = await canary.done;
  const gone = await untilGone(gateway, LISTENERS, 90_000);
  const told = LISTENERS.map((name) => `${name} ${ms((gone.get(name) ?? 0) + 5000)}`).join(', ');
  figure(t, {
    experiment: '33',
    what: `${5 * COUNT} clients vanish without a FIN: idle HTTP, WebSockets that are sent to, idle TCP; with 'unacknowledged' at 4 s idle TCP, TCP that is sent to`,
    measured: `gone after: ${told}; ${host.dropped} packets dropped; canary failed: ${felt.summary()}`,
    wanted: '≤ 65 s by default (TCP 45 s), ≤ 10 s with 4 s',
  });
  assert.ok(host.dropped > 100, 'packets were dropped');
  assert.deepEqual(felt.failures(), []);
  for (const name of ['quick', 'busy']) assert.ok((gone.get(name) ?? 0) <= 10_000, told);
  for (const name of LISTENERS) assert.ok((gone.get(name) ?? 0) <= 80_000, told);
  assert.equal(tcpStates(web)['CLOSE_WAIT'] ?? 0, 0);
}

function farBackend(t: TestContext, host: Host): Promise<void> {
  const argv = [SERVER, '80', 'far', '', 'http1', '0.0.0.0'];
  const enter = [`--net=/run/netns/${host.name}`, process.execPath];
  const child = spawn('nsenter', [...enter, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  return new Promise((resolve) => child.stdout.once('data', () => resolve()));
}

/** How long after now the gateway has closed all of them. */
async function untilClosed(held: Held, timeoutMs: number): Promise<number> {
  const from = performance.now();
  await eventually('all are closed', () => held.open() === 0, timeoutMs);
  return performance.now() - from;
}

async function endpointVanishes(t: TestContext) {
  const host = new Host(t, 2);
  const [web = 0, raw = 0, quick = 0, busy = 0, near = 0] = await freePorts(5);
  const backend = new Backend(near, 'near');
  await Promise.all([backend.start(), farBackend(t, host)]);
  t.after(() => backend.kill());
  const far = `"${host.address}:80"`;
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
  raw: { bind: "127.0.0.1:${raw}", protocol: tcp, service: lone }
  quick: { bind: "127.0.0.1:${quick}", protocol: tcp, service: lone-quick }
  busy: { bind: "127.0.0.1:${busy}", protocol: tcp, service: lone-quick }
services:
  app: { endpoints: ["127.0.0.1:${near}", ${far}] }
  lone: { endpoints: [${far}], health: false }
  lone-quick: { endpoints: [${far}], health: false, timeouts: { unacknowledged: 4s } }
`,
    { workers: 2 },
  );
  t.after(() => gateway.stop());
  const load = await startLoad(t, { port: web, perSecond: 20, connections: 20 });
  const idle = await hold(raw, COUNT, { send: GET });
  const early = await hold(quick, COUNT, { send: GET });
  const talking = await hold(busy, COUNT, { send: GET });
  t.after(() => [idle, early, talking].map((held) => held.close()));
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.equal(idle.open() + early.open() + talking.open(), 3 * COUNT);
  host.vanish();
  const talk = setInterval(() => {
    for (const socket of talking.sockets) if (socket.writable) socket.write('x');
  }, PUSH_MS);
  t.after(() => clearInterval(talk));
  const [quickMs, busyMs, idleMs] = await Promise.all([
    untilClosed(early, 20_000),
    untilClosed(talking, 20_000),
    untilClosed(idle, 60_000),
  ]);
  load.stop();
  const felt = await load.done;
  figure(t, {
    experiment: '33',
    what: `an endpoint vanishes without a FIN under 20 requests/s, ${COUNT} TCP sessions to it idle; with 'unacknowledged' at 4 s ${COUNT} idle and ${COUNT} that send`,
    measured: `${felt.summary()} of ${felt.sent} requests failed, worst ${ms(felt.percentile(100))}; closed after ${ms(idleMs)}; ${ms(quickMs)}, ${ms(busyMs)}; ${host.dropped} packets dropped`,
    wanted: '≤ 2 failed, closed ≤ 45 s; ≤ 10 s',
  });
  assert.ok(host.dropped > 100, 'packets were dropped');
  assert.ok(felt.failures().length <= 2, felt.summary());
  assert.ok(Math.max(quickMs, busyMs) <= 15_000, `${ms(quickMs)}, ${ms(busyMs)}`);
}

async function handshakesStayOpen(t: TestContext) {
  const host = new Host(t, 3);
  const [web = 0, near = 0] = await freePorts(2);
  const backend = new Backend(near, 'near');
  await backend.start();
  t.after(() => backend.kill());
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "0.0.0.0:${web}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${near}"] }
`,
    { workers: 2 },
  );
  t.after(() => gateway.stop());
  const clients = host.fork(t, CLIENTS);
  const canary = await startCanary(t, { port: web });
  host.dropAcknowledgements();
  const opening = { host: host.gateway, port: web, count: HALF_OPEN, send: '' };
  assert.equal(await open(clients, opening), HALF_OPEN, 'all clients think they are in');
  const peak = tcpStates(web)['SYN_RECV'] ?? 0;
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  canary.stop();
  const felt = await canary.done;
  const total = await gateway.metric('sluice_listener_connections_total{listener="web"}');
  figure(t, {
    experiment: '33',
    what: `${HALF_OPEN} handshakes that are never finished (their ACKs are dropped)`,
    measured: `${host.dropped} packets dropped, ${peak} waited in the kernel; CLOSE_WAIT ${tcpStates(web)['CLOSE_WAIT'] ?? 0}; canary failed: ${felt.summary()} of ${felt.sent}, p99 ${ms(felt.percentile(99))}; connections that reached the gateway: ${total}`,
    wanted: 'CLOSE_WAIT 0, canary p99 < 50 ms, 0 failed',
  });
  assert.ok(host.dropped >= HALF_OPEN, `${host.dropped} packets were dropped`);
  assert.deepEqual(felt.failures(), []);
  assert.equal(tcpStates(web)['CLOSE_WAIT'] ?? 0, 0);
}

if (process.env[INSIDE] === undefined) {
  test('peers vanish', { skip: netnsUnavailable() }, async (t) => {
    const env = { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined };
    const argv = ['--net', process.execPath, import.meta.filename];
    const child = spawn('unshare', argv, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill());
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    for (const line of output.split('\n')) if (line.includes('33: ')) t.diagnostic(line);
    assert.equal(code, 0, output);
  });
} else {
  run(...words('ip link set lo up'));
  test('clients vanish without a FIN', clientsVanish);
  test('an endpoint vanishes without a FIN', endpointVanishes);
  test('handshakes stay half-open', handshakesStayOpen);
}
