import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { eventually, freePorts, Gateway, type StartOptions } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';
import { endAll, isAlive } from '../support/processes.ts';
import { activated, noNotify, noPerl, receive } from '../support/systemd.ts';

const noRoot = process.getuid?.() === 0 ? false : 'needs root';

async function start(t: TestContext, bind: string, options: StartOptions, more = '') {
  const [backendPort = 0] = await freePorts(1);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  t.after(() => backend.kill());
  const config = `${more}listeners:
  web: { bind: "${bind}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${backendPort}"] }
`;
  const gateway = await Gateway.start(config, options);
  t.after(() => gateway.stop());
  return { gateway, config };
}

for (const kind of ['path', 'abstract'] as const) {
  test(`systemd is told of every state over a socket: ${kind}`, { skip: noNotify }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-notify-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const name = kind === 'path' ? join(directory, 'notify') : `@sluice-test-${process.pid}`;
    const told = await receive(t, name);
    const [port = 0] = await freePorts(1);
    const { gateway } = await start(t, `127.0.0.1:${port}`, {
      env: { NOTIFY_SOCKET: name, WATCHDOG_USEC: '1000000' },
    });
    const first = gateway.pid;
    await eventually('READY', () =>
      told().includes(`READY=1\nMAINPID=${first}\nSTATUS=serving configuration 1`),
    );
    await eventually('WATCHDOG', () => told().split('WATCHDOG=1').length > 2);
    gateway.process.kill('SIGHUP');
    await eventually('RELOADING', () =>
      /RELOADING=1\nMONOTONIC_USEC=\d+\n(?:\w+=1\n)*READY=1/.test(told()),
    );
    assert.equal((await gateway.upgrade()).status, 200);
    await eventually('the new MAINPID', () => told().includes(`MAINPID=${gateway.pid}\n`));
    await eventually('the old one has left', () => !isAlive(first));
    endAll([gateway.pid], 'SIGTERM');
    await eventually('STOPPING', () => told().includes('STOPPING=1'));
  });
}

test('a socket of the service manager serves, also after an upgrade', {
  skip: noPerl,
}, async (t) => {
  const [port = 0] = await freePorts(1);
  const { gateway, config } = await start(t, 'fd:web', {
    prefix: activated('web', port),
  });
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 0.5 })), []);
  // Given up and taken again: the manager's socket has stayed open.
  const without = config.replace('"fd:web"', '"unix:{DIR}/web.sock"');
  for (const next of [without, config]) {
    gateway.write(next);
    const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(status, 200, text);
  }
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 0.5 })), []);
  const load = pacedLoad(port, { perSecond: 100, seconds: 2, newConnections: true });
  assert.equal((await gateway.upgrade()).status, 200);
  assert.deepEqual(failures(await load), []);
});

test('a name that the service manager has not passed is refused with those that it has', async (t) => {
  const [port = 0] = await freePorts(1);
  if (noPerl) t.skip(noPerl);
  else {
    const options = { prefix: activated('web', port) };
    await assert.rejects(start(t, 'fd:other', options), /no such socket \(passed: web\)/);
  }
});

function idsOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n');
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/) as [string, string]));
}

test('workers run as another user, for good; ports below 1024 come and stay', {
  skip: noRoot,
}, async (t) => {
  const low = await freeLowPort();
  const [port = 0] = await freePorts(1);
  const { gateway, config } = await start(
    t,
    `127.0.0.1:${port}`,
    { prepare: (directory) => chmodSync(directory, 0o755) },
    'user: nobody\n',
  );
  const [worker = 0] = await gateway.workers();
  const ids = idsOf(worker);
  const nobody = ids['Uid']?.split('\t') ?? [];
  assert.equal(new Set(nobody).size, 1, 'real, effective, saved and file system user are one');
  assert.notEqual(nobody[0], '0');
  assert.equal(new Set(ids['Gid']?.split('\t')).has('0'), false);
  assert.equal(ids['Groups']?.trim(), '');
  assert.match(`${ids['CapEff']}${ids['CapPrm']}`, /^0+$/);
  assert.equal(idsOf(gateway.pid)['Uid']?.startsWith('0'), true);
  gateway.write(config.replace(`"127.0.0.1:${port}"`, `["127.0.0.1:${port}", "127.0.0.1:${low}"]`));
  const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal(status, 200, text);
  assert.deepEqual(failures(await pacedLoad(low, { perSecond: 50, seconds: 0.5 })), []);
  assert.deepEqual(await gateway.workers(), [worker]);
  // A replacement gets the same socket and the same user.
  endAll([worker]);
  await eventually('it is replaced', async () => {
    const [now = 0] = await gateway.workers();
    return now !== worker && (await gateway.admin('/readyz')).status === 200;
  });
  const [next = 0] = await gateway.workers();
  assert.equal(idsOf(next)['Uid'], ids['Uid']);
  assert.deepEqual(failures(await pacedLoad(low, { perSecond: 50, seconds: 0.5 })), []);
});

async function freeLowPort(): Promise<number> {
  for (let port = 1000; port > 900; port--) {
    const server = net.createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new Error('no free port below 1024');
}

test('SIGTERM drains to the deadline and tells what was cut; a second one ends at once', async (t) => {
  const [port = 0] = await freePorts(1);
  const { gateway } = await start(t, `127.0.0.1:${port}`, {}, 'shutdown: { timeout: 10m }\n');
  const stuck = net.connect(port, '127.0.0.1');
  stuck.on('error', () => {});
  t.after(() => stuck.destroy());
  stuck.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf');
  await eventually('it is open', async () => {
    return (await gateway.metric('sluice_listener_connections_active{listener="web"}')) === 1;
  });
  gateway.process.kill('SIGTERM');
  await eventually('it drains', () => gateway.output.includes('"draining"'));
  await assert.rejects(fetch(`http://127.0.0.1:${port}/`));
  assert.equal(isAlive(gateway.pid), true);
  const from = performance.now();
  gateway.process.kill('SIGINT');
  await eventually('it ends at once', () => !isAlive(gateway.pid));
  t.diagnostic(`ended ${Math.round(performance.now() - from)} ms after the second signal`);
  assert.match(gateway.output, /"connectionsCut":1/);
});
