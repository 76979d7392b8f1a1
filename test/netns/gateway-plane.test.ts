import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { caller } from '../support/engine.ts';
import { netnsUnavailable, type Peer, run, TestHost, until } from '../support/netns.ts';
import { endAll, isAlive } from '../support/processes.ts';

const skip = netnsUnavailable();
const SLUICED = new URL('../../src/main/sluiced.ts', import.meta.url).pathname;

const SERVICE = `health: { type: tcp, interval: 200ms, timeout: 200ms, fall: 1 }
    balance: round-robin`;

function config(host: TestHost, listener = '', service = SERVICE, backends = [1, 2]): string {
  const endpoints = backends.map((number) => `"10.77.${number}.2:80"`).join(', ');
  return `admin: { bind: "unix:${host.root}/admin.sock" }
workers: 1
shutdown: { timeout: 1s }
agent: { socket: ${host.root}/agent.sock }
listeners:
  web: { bind: ":8080", protocol: tcp, service: app${listener} }
  dns: { bind: "0.0.0.0:5353", protocol: udp, service: names }
services:
  app:
    endpoints: [${endpoints}]
    ${service}
  names:
    endpoints: [${endpoints}]
    ${SERVICE}
`;
}

/** A daemon in the namespace of a host. */
class Daemon {
  readonly #host: TestHost;
  #pid = 0;
  log = '';

  constructor(host: TestHost) {
    this.#host = host;
  }

  write(text: string): void {
    writeFileSync(join(this.#host.root, 'sluice.yaml'), text);
  }

  async start(text = config(this.#host), ...further: string[]): Promise<void> {
    this.write(text);
    const { host, root } = this.#host;
    const argv = [`--net=/run/netns/${host}`, process.execPath, SLUICED, '--config'];
    const child = spawn('nsenter', [...argv, join(root, 'sluice.yaml'), ...further], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, RUNTIME_DIRECTORY: root },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        this.log += data;
      });
    }
    this.#pid = child.pid ?? 0;
    await until(async () => {
      if (child.exitCode !== null) throw new Error(this.log);
      const answer = await this.ask('GET', '/readyz').catch(() => undefined);
      return answer?.status === 200;
    }, 15_000);
  }

  ask(method: string, path: string, body?: unknown) {
    return caller(join(this.#host.root, 'admin.sock'))(method, path, body);
  }

  async plane(name = 'web'): Promise<{ plane: string; planeReason: string }> {
    const { body } = await this.ask('GET', '/v1/listeners');
    const found = (body as { name: string; plane: string; planeReason: string }[]).find(
      (one) => one.name === name,
    );
    assert.ok(found);
    return found;
  }

  async inPlane(plane: string, name = 'web'): Promise<void> {
    await until(async () => (await this.plane(name)).plane === plane, 10_000).catch(async () => {
      assert.fail(`${name}: ${JSON.stringify(await this.plane(name))}\n${this.log}`);
    });
  }

  async reload(text: string): Promise<void> {
    this.write(text);
    const { status, body } = await this.ask('POST', '/v1/reload');
    assert.equal(status, 200, JSON.stringify(body));
  }

  async metric(series: string): Promise<number> {
    const { body } = await this.ask('GET', '/metrics');
    const line = String(body)
      .split('\n')
      .find((one) => one.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1) ?? Number.NaN);
  }

  /** Lets a new daemon take over, and waits until the one before has ended. */
  async upgrade(): Promise<void> {
    const { status, body } = await this.ask('POST', '/v1/upgrade');
    assert.equal(status, 200, JSON.stringify(body));
    const before = this.#pid;
    this.#pid = (body as { pid: number }).pid;
    await until(() => !isAlive(before));
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const pid = this.#pid;
    if (pid === 0) return;
    this.#pid = 0;
    endAll([pid], signal);
    await until(() => !isAlive(pid));
  }
}

/** A namespace behind the host whose server answers with its name. */
async function addBackend(host: TestHost, number: number): Promise<Peer> {
  const name = `${host.prefix}-b${number}`;
  run('ip', 'netns', 'add', name);
  host.ip(name, 'link', 'set', 'lo', 'up');
  const link = `b${number}`;
  host.ip(host.host, 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
  host.ip(host.host, 'addr', 'add', `10.77.${number}.1/24`, 'dev', link);
  host.ip(name, 'addr', 'add', `10.77.${number}.2/24`, 'dev', 'eth0');
  host.ip(host.host, 'link', 'set', link, 'up');
  host.ip(name, 'link', 'set', 'eth0', 'up');
  const peer = await host.peer(name);
  await peer.listen(`b${number}`, 80, '0.0.0.0');
  return peer;
}

describe('listeners in the kernel plane', { skip }, () => {
  let host: TestHost;
  let daemon: Daemon;
  let client: Peer;

  before(async () => {
    host = await TestHost.start();
    daemon = new Daemon(host);
    for (const number of [1, 2]) await addBackend(host, number);
    client = await host.peer(host.outside);
    await daemon.start();
    await daemon.inPlane('kernel');
    await daemon.inPlane('kernel', 'dns');
  });
  after(async () => {
    await daemon?.end();
    await host?.stop();
  });

  const names = async (count: number, port = 8080) => {
    const answers: string[] = [];
    for (let call = 0; call < count; call++) {
      answers.push((await client.tcp('192.0.2.10', port)).split(' ')[0] ?? '');
    }
    return answers.sort().join(' ');
  };

  test('the kernel spreads TCP and UDP; sockets answer on the loopback', async () => {
    const before = await daemon.metric('sluice_service_requests_total{service="app",outcome="ok"}');
    assert.equal(await names(4), 'b1 b1 b2 b2');
    assert.equal(await client.tcp('192.0.2.11', 8080).then((text) => text.slice(-9)), '10.77.1.1');
    assert.match(await client.udp('192.0.2.10', 5353), /^b[12] peer=10\.77\.[12]\.1$/);
    const after = await daemon.metric('sluice_service_requests_total{service="app",outcome="ok"}');
    assert.equal(after, before, 'no socket of the gateway carried them');
    assert.match(await client.tcp('2001:db8::10', 8080), /^b[12] /, 'sockets reach IPv4 over IPv6');
    const own = await host.peer(host.host);
    assert.match(await own.tcp('127.0.0.1', 8080), /^b[12] peer=/);
    assert.match(await own.tcp('192.0.2.10', 8080), /^b[12] peer=/);
  });

  test('connections, flows, bytes and packets count under the usual names', async () => {
    const label = '{listener="web"}';
    const series = [
      `sluice_listener_connections_total${label}`,
      `sluice_listener_bytes_received_total${label}`,
      `sluice_listener_bytes_sent_total${label}`,
      'sluice_listener_kernel_packets_total{listener="web",direction="sent"}',
    ];
    const before = await Promise.all(series.map((one) => daemon.metric(one)));
    await names(3);
    const after = await Promise.all(series.map((one) => daemon.metric(one)));
    assert.equal((after[0] ?? 0) - (before[0] ?? 0), 3);
    for (const index of [1, 2, 3]) {
      assert.ok((after[index] ?? 0) > (before[index] ?? 0), `${series[index]}`);
    }
    assert.equal(await daemon.metric(`sluice_listener_kernel${label}`), 1);
    assert.ok((await daemon.metric('sluice_udp_flows_total{listener="dns"}')) >= 1);
    const holding = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    assert.match(holding, /^b[12]/);
    assert.equal(await daemon.metric(`sluice_listener_connections_active${label}`), 1);
    assert.equal(await daemon.metric('sluice_service_active{service="app"}'), 1);
    const { body } = await daemon.ask('GET', '/v1/services');
    const app = (body as { name: string; endpoints: { id: string; active: number }[] }[]).find(
      ({ name }) => name === 'app',
    );
    assert.equal(
      app?.endpoints.reduce((sum, { active }) => sum + active, 0),
      1,
    );
  });

  test('a drained endpoint keeps its flows and takes no new ones', async () => {
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    const number = held.slice(1, 2);
    const path = `/v1/services/app/endpoints/${encodeURIComponent(`10.77.${number}.2:80`)}`;
    assert.equal((await daemon.ask('PUT', path, { state: 'drain' })).status, 200);
    const other = number === '1' ? 'b2' : 'b1';
    await until(async () => (await names(2)) === `${other} ${other}`);
    assert.equal(await client.order({ op: 'echo', text: 'still', timeoutMs: 10_000 }), 'still');
    assert.equal((await daemon.ask('PUT', path, { state: 'ready' })).status, 200);
    await until(async () => (await names(2)) === 'b1 b2');
  });

  test('an endpoint that goes silent leaves with one check, and its flows are cut', async () => {
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    const number = held.slice(1, 2);
    const other = number === '1' ? 'b2' : 'b1';
    host.ip(`${host.prefix}-b${number}`, 'link', 'set', 'eth0', 'down');
    const tracked = () =>
      host.onHost('conntrack', '-L', '-p', 'tcp', '--reply-src', `10.77.${number}.2`);
    await until(() => !/ESTABLISHED.*mark=17/.test(tracked()));
    assert.equal(await names(4), [other, other, other, other].join(' '));
    assert.equal(await client.order({ op: 'echo', text: 'dead', timeoutMs: 10_000 }), 'gone');
    host.ip(`${host.prefix}-b${number}`, 'link', 'set', 'eth0', 'up');
    await until(async () => (await names(2)) === 'b1 b2');
  });

  test('a UDP flow of a dead endpoint goes to another with its next datagram', async () => {
    const send = () =>
      client.order({ op: 'send', host: '192.0.2.10', port: 5353, source: 40_001, timeoutMs: 500 });
    const first = await send();
    assert.equal(await send(), first, 'a flow stays');
    const number = first.slice(1, 2);
    host.ip(`${host.prefix}-b${number}`, 'link', 'set', 'eth0', 'down');
    const other = number === '1' ? /^b2/ : /^b1/;
    await until(async () => other.test(await send()));
    host.ip(`${host.prefix}-b${number}`, 'link', 'set', 'eth0', 'up');
    await until(async () => (await names(2)) === 'b1 b2');
  });

  test('weights are shares of new flows', async () => {
    const path = `/v1/services/app/endpoints/${encodeURIComponent('10.77.1.2:80')}`;
    assert.equal((await daemon.ask('PUT', path, { weight: 3 })).status, 200);
    await until(async () => (await names(4)) === 'b1 b1 b1 b2');
    assert.equal((await daemon.ask('PUT', path, { weight: 1 })).status, 200);
    await until(async () => (await names(2)) === 'b1 b2');
  });

  test('a reload moves a listener between the planes; no connection is lost', async () => {
    let lost = '';
    let calls = 0;
    let stop = false;
    const caller = await host.peer(host.outside);
    const calling = (async () => {
      while (!stop) {
        const answer = await caller.tcp('192.0.2.10', 8080);
        calls++;
        if (!/^b[12] peer=/.test(answer)) lost ||= answer;
      }
    })();
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    assert.match(held, /^b[12]/);
    for (let turn = 0; turn < 3; turn++) {
      await daemon.reload(config(host, ', plane: user'));
      await daemon.inPlane('user');
      assert.equal((await daemon.plane()).planeReason, 'plane: user');
      assert.equal(await client.order({ op: 'echo', text: 'on', timeoutMs: 10_000 }), 'on');
      await daemon.reload(config(host));
      await daemon.inPlane('kernel');
    }
    stop = true;
    await calling;
    assert.equal(lost, '');
    assert.ok(calls > 10);
    assert.equal(await client.order({ op: 'echo', text: 'end', timeoutMs: 10_000 }), 'end');
  });

  test('why sockets carry a listener is told by status and explain', async () => {
    const cases: [string, string, RegExp][] = [
      [', limits: { maxConnections: 5 }', SERVICE, /^listeners\.web\.limits\.maxConnections: /],
      ['', `${SERVICE}\n    proxyProtocol: v2`, /^services\.app\.proxyProtocol: /],
      ['', SERVICE.replace('round-robin', 'ewma'), /^services\.app\.balance: .* not ewma/],
    ];
    for (const [listener, service, why] of cases) {
      await daemon.reload(config(host, listener, service));
      await until(async () => why.test((await daemon.plane()).planeReason));
      await daemon.inPlane('user');
      const { body } = await daemon.ask('GET', '/v1/explain?listen=192.0.2.10:8080');
      assert.match(JSON.stringify(body), /sockets carry it, not the kernel: (listeners|services)/);
      daemon.write(config(host, `${listener}, plane: kernel`, service));
      const refused = await daemon.ask('POST', '/v1/reload');
      assert.notEqual(refused.status, 200);
      assert.match(JSON.stringify(refused.body), /plane: kernel/);
    }
    await daemon.reload(config(host));
    await daemon.inPlane('kernel');
    const { body } = await daemon.ask('GET', '/v1/explain?listen=192.0.2.10:8080');
    assert.match(JSON.stringify(body), /the kernel carries it/);
  });

  test('the agent away: the kernel keeps what it has, and learns of changes when it is back', async () => {
    await host.killAgent();
    assert.equal(await names(2), 'b1 b2');
    assert.equal((await daemon.plane()).plane, 'kernel');
    host.ip(`${host.prefix}-b2`, 'link', 'set', 'eth0', 'down');
    await until(() => daemon.log.includes('the agent is away'));
    const status = (await daemon.ask('GET', '/v1/status')).body as { agentConnected: boolean };
    assert.equal(status.agentConnected, false);
    await host.startAgent();
    await until(async () => (await names(2)) === 'b1 b1');
    host.ip(`${host.prefix}-b2`, 'link', 'set', 'eth0', 'up');
    await until(async () => (await names(2)) === 'b1 b2');
  });

  test('others flush all rules: sockets carry at once, then the kernel again', async () => {
    host.onHost('nft', 'flush', 'ruleset');
    assert.equal((await names(2)).length, 5);
    await until(() => host.onHost('nft', 'list', 'ruleset').includes('take_any'));
    assert.equal(await names(2), 'b1 b2');
  });

  test('an upgrade takes the kernel plane over with its flows', async () => {
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    assert.match(held, /^b[12]/);
    await daemon.upgrade();
    await daemon.inPlane('kernel');
    assert.equal(await names(2), 'b1 b2');
    assert.equal(await client.order({ op: 'echo', text: 'on', timeoutMs: 10_000 }), 'on');
  });

  test('a daemon killed and started again cuts no flow; one that ends takes its rules along', async () => {
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    assert.match(held, /^b[12]/);
    await daemon.end('SIGKILL');
    assert.match(await client.tcp('192.0.2.10', 8080), /^b[12]/);
    const rules = () => host.onHost('nft', 'list', 'ruleset');
    assert.match(rules(), /elements = \{ tcp \. 8080/);
    await until(() => !/elements = \{ tcp \. 8080/.test(rules()), 20_000);
    assert.match(await client.tcp('192.0.2.10', 8080), /^b[12]/, 'a worker left behind serves');
    await daemon.start();
    await daemon.inPlane('kernel');
    assert.equal(await client.order({ op: 'echo', text: 'alive', timeoutMs: 10_000 }), 'alive');
    await daemon.end();
    assert.doesNotMatch(host.onHost('nft', 'list', 'ruleset'), /take_any/);
    assert.equal(await client.tcp('192.0.2.10', 8080), 'ECONNREFUSED');
  });
});

const SERVER = `require('net').createServer((client) => {
  client.on('error', () => client.destroy());
  client.write(process.argv[1] + '\\n');
  client.on('data', (data) => client.write(data));
}).listen(80, '0.0.0.0')`;

describe('one daemon with an engine and a gateway', { skip }, () => {
  let host: TestHost;
  let daemon: Daemon;
  const engine = (method: string, path: string, body?: unknown) =>
    caller(join(host.root, 'engine.sock'))(method, path, body);

  before(async () => {
    host = await TestHost.start();
    daemon = new Daemon(host);
    const text = `admin: { bind: "unix:${host.root}/admin.sock" }
workers: 1
shutdown: { timeout: 1s }
discovery: { engine: { socket: ${host.root}/engine.sock } }
listeners: { web: { bind: ":8080", protocol: tcp, service: app } }
services:
  app:
    discover: { tasks: { name: "web-*", network: blue, port: 80 } }
    ${SERVICE}
`;
    const roots = ['--data-root', join(host.root, 'data'), '--exec-root', host.root];
    await daemon.start(text, ...roots, '-H', `unix://${host.root}/engine.sock`);
    assert.equal((await engine('POST', '/networks/create', { Name: 'blue' })).status, 201);
  });
  after(async () => {
    await daemon?.end();
    await host?.stop();
  });

  const runTask = async (name: string) => {
    const { body } = await engine('POST', `/containers/create?name=${name}`, {
      Image: 'host',
      Cmd: [process.execPath, '-e', SERVER, name],
      HostConfig: { NetworkMode: 'blue' },
    });
    const { Id } = body as { Id: string };
    assert.equal((await engine('POST', `/containers/${Id}/start`)).status, 204);
  };

  test('tasks are endpoints while they run; flows of one that is killed are cut', async () => {
    const client = await host.peer(host.outside);
    const ask = () => client.tcp('192.0.2.10', 8080);
    await runTask('web-1');
    await daemon.inPlane('kernel');
    // A check from before the task has listened may yet tell that it is down.
    let answered = 0;
    await until(async () => {
      answered = (await ask()) === 'web-1' ? answered + 1 : 0;
      return answered > 20;
    }, 10_000);
    const held = await client.order({ op: 'hold', host: '192.0.2.10', port: 8080 });
    assert.equal(held, 'web-1');
    await runTask('web-2');
    await until(async () => new Set([await ask(), await ask()]).has('web-2'));
    assert.equal((await engine('POST', '/containers/web-1/kill')).status, 204);
    await until(async () => (await ask()) === 'web-2' && (await ask()) === 'web-2');
    assert.equal(await client.order({ op: 'echo', text: 'on', timeoutMs: 10_000 }), 'gone');
    for (const name of ['web-1', 'web-2']) {
      assert.equal((await engine('DELETE', `/containers/${name}?force=true`)).status, 204);
    }
    await daemon.inPlane('user');
    assert.match((await daemon.plane()).planeReason, /no endpoint/);
    assert.equal((await engine('DELETE', '/networks/blue')).status, 204);
  });
});
