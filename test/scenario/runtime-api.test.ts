import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { STAT_COLUMNS } from '../../src/model/stat-row.ts';
import { makeCertificates } from '../support/certs.ts';
import { eventually, freePorts, Gateway, type StartOptions } from '../support/gateway.ts';
import { askSocket, Haproxy, noHaproxy } from '../support/haproxy.ts';

const skip = noHaproxy;

async function named(t: TestContext, port: number): Promise<void> {
  const server = http.createServer((_, answer) => answer.end(String(port)));
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
}

/** The same service by both programs, before two servers, with a runtime API each. */
async function both(t: TestContext) {
  const [web = 0, theirs = 0, one = 0, two = 0, three = 0] = await freePorts(5);
  for (const port of [one, two, three]) await named(t, port);
  const haproxy = await Haproxy.start(
    t,
    `defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend web
  bind 127.0.0.1:${theirs}
  default_backend app
backend app
  balance roundrobin
  option httpchk GET /
  server s1 127.0.0.1:${one} check inter 300ms weight 4
  server s2 127.0.0.1:${two} check inter 300ms weight 2
`,
  );
  const config = `listeners: { web: { bind: "127.0.0.1:${web}", protocol: http, service: app } }
services:
  app:
    balance: round-robin
    endpoints:
      - { name: s1, address: "127.0.0.1:${one}", weight: 4 }
      - { name: s2, address: "127.0.0.1:${two}", weight: 2 }
    health: { type: http, interval: 300ms, fall: 3 }
`;
  const gateway = await start(t, config, { runtime: 'admin' });
  const socket = join(gateway.directory, 'run.sock');
  const ask = (line: string) => askSocket(socket, line);
  for (const program of [ask, (line: string) => haproxy.ask(line)]) {
    await eventually('both are checked', async () => {
      const text = await program('show servers state app');
      return (text.match(/ 15 3 4 6 /g) ?? []).length === 2;
    });
  }
  return { haproxy, gateway, ask, socket, web, ports: [one, two, three], config };
}

async function start(t: TestContext, config: string, options: StartOptions): Promise<Gateway> {
  const gateway = await Gateway.start(config, options);
  t.after(() => gateway.stop());
  return gateway;
}

/** Commands that both must answer to the letter, in this order. */
const SAME = (free: number) => [
  ...['show backend', 'show cli level', 'get weight app/s1', 'get weight app/none'],
  ...['get weight none/s1', 'get weight', 'get weight app'],
  ...['set server app/s1 weight 10', 'get weight app/s1', 'set server app/s1 weight 50%'],
  ...['get weight app/s1', 'set server app/s1 weight 300', 'set server app/s1 weight -1'],
  ...['set weight app/s1 3', 'get weight app/s1', 'set server app/s1 weight'],
  ...['set server app/s1 state drain', 'show servers state app', 'set server app/s1 state maint'],
  ...['show servers state app', 'set server app/s1 state ready', 'set server app/s1 state odd'],
  ...['set server app/s1 state', 'set server', 'set server app/none state ready'],
  ...['set server none/s1 state ready', 'disable server app/s2', 'show servers state app'],
  ...['enable server app/s2', 'disable server app/none', 'show servers state none'],
  ...[`add server app/new 127.0.0.1:${free}`, 'add server none/x 127.0.0.1:9'],
  ...['add server app/s1 127.0.0.1:9', 'add server app/x', 'add server app/x 127.0.0.1:9 bogus'],
  ...['add server', 'del server app/s2', 'del server app/none', 'del server none/s1'],
  ...['set server app/new weight 7', 'get weight app/new', 'enable server app/new'],
  ...['del server app/new', 'disable server app/new', 'del server app/new', 'del server app/new'],
  ...[`set server app/s1 addr 127.0.0.1 port ${free}`, 'set server app/s1 addr 127.0.0.1'],
  ...['set server app/s1 addr odd', 'set server app/s1 addr'],
  ...[
    'show cli level; get weight app/s2;show backend',
    'get weight app/s2 ; operator ; show cli level',
  ],
  ...['user; set server app/s1 state ready', 'commit ssl cert none.pem', 'set ssl cert none.pem'],
  ...['quit', 'clear counters', 'show stat up;quit'],
];

/** Numbers of proxies, times and last checks, which are not the same, made so; of statistics only the names. */
function normal(text: string): string {
  return text
    .replaceAll(/^# pxname[\s\S]*$/gm, '# TABLE')
    .replaceAll(/^\d+ (app \d+ \S+ \S+ \d \d+ \d+ \d+) \d+ \d+ \d \d (.*)$/gm, 'N $1 T C R H $2');
}

test('commands are answered as HAProxy answers them', { skip }, async (t) => {
  const { haproxy, ask, ports } = await both(t);
  const free = ports[2] ?? 0;
  const [ours, theirs]: [string, string][][] = [[], []];
  for (const command of SAME(free)) {
    ours?.push([command, normal(await ask(command))]);
    theirs?.push([command, normal(await haproxy.ask(command))]);
  }
  assert.deepEqual(ours, theirs);
});

test('a prompt, line after line, as HAProxy has it', { skip }, async (t) => {
  const { haproxy, socket } = await both(t);
  const talk = (path: string) =>
    askSocket(path, 'prompt\nget weight app/s1\nget weight app/none;show cli level\nquit');
  assert.equal(await talk(socket), await talk(haproxy.socket));
});

test('the table has the columns of HAProxy, and filters as it does', { skip }, async (t) => {
  const { haproxy, ask, web } = await both(t);
  await fetch(`http://127.0.0.1:${web}/`).then((answer) => answer.text());
  const [ours, theirs] = [await ask('show stat'), await haproxy.ask('show stat')];
  const head = (text: string) => text.slice(2, text.indexOf('\n')).split(',');
  const columns = head(theirs);
  assert.deepEqual(head(ours), [...columns.slice(0, columns.indexOf('-')), '']);
  assert.deepEqual(head(ours).slice(0, -1), STAT_COLUMNS);
  const table = (text: string) =>
    text
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(',').slice(0, 2).join('/'));
  assert.deepEqual(table(ours), ['web/FRONTEND', 'app/s1', 'app/s2', 'app/BACKEND']);
  for (const filter of [
    'app',
    'app 4 -1',
    'none 4 -1',
    '-1 2 -1',
    '-1 1 -1',
    '-1 4 2',
    'app 6 -1',
    'up',
  ]) {
    const both = [await ask(`show stat ${filter}`), await haproxy.ask(`show stat ${filter}`)];
    const [own, real] = both.map(table);
    assert.deepEqual([filter, own], [filter, real]);
  }
  const fields = (text: string) => text.split('\n').map((line) => line.split(':')[0]);
  const known = fields(await haproxy.ask('show info'));
  const told = fields(await ask('show info'));
  assert.deepEqual(
    told,
    known.filter((name) => told.includes(name)),
    'in its order',
  );
  assert.ok(told.length >= 30, told.join());
});

/** What HAProxy says of a value: where it stands, what it is and how it is written. */
function shapes(text: string): Map<string, string> {
  const found = text.matchAll(/^((?:[FSB]\.\d+\.\d+\.)?\d+\.[^.]+\.1):(\w+:\w+):/gm);
  return new Map([...found].map(([, name = '', shape = '']) => [name, shape]));
}

test('typed and JSON figures say of each what HAProxy says', { skip }, async (t) => {
  const { haproxy, ask, web } = await both(t);
  await fetch(`http://127.0.0.1:${web}/`).then((answer) => answer.text());
  for (const command of ['show info', 'show stat app 6 -1']) {
    const [own, real] = [await ask(`${command} typed`), await haproxy.ask(`${command} typed`)];
    const known = shapes(real);
    const told = shapes(own);
    assert.ok(told.size > 40, own);
    // Without a limit HAProxy leaves it out, and without a code of a check.
    const extra = /\.(src_ilim|check_code|slim|algo)\.1$/;
    for (const [name, shape] of told) {
      if (known.has(name) || !extra.test(name)) {
        assert.deepEqual([name, shape], [name, known.get(name)]);
      }
    }
    const form = async (asked: typeof ask) => {
      const parsed = JSON.parse(await asked(`${command} json`)).flat();
      return parsed.find(({ field }: { field: { name: string } }) =>
        ['Nbproc', 'check_fall'].includes(field.name),
      );
    };
    const theirs = await form((line) => haproxy.ask(line));
    assert.deepEqual(await form(ask), theirs);
    assert.match(await ask(`${command} json typed`), /^(0\.Name|S\.)/);
  }
});

test('orders hold for traffic, after a reload and after an upgrade', { skip }, async (t) => {
  const { gateway, ask, web, ports } = await both(t);
  const [one, two, three] = ports;
  const seen = async () => {
    const found = new Set<string>();
    for (let sent = 0; sent < 12; sent++) {
      found.add(await fetch(`http://127.0.0.1:${web}/`).then((answer) => answer.text()));
    }
    return [...found].sort();
  };
  const all = (...wanted: (number | undefined)[]) => wanted.map(String).sort();
  const becomes = (...wanted: (number | undefined)[]) =>
    eventually(`only ${wanted}`, async () => `${await seen()}` === `${all(...wanted)}`);
  await becomes(one, two);
  await ask('set server app/s1 state maint');
  await becomes(two);
  await ask(`set server app/s2 addr 127.0.0.1 port ${three}`);
  await becomes(three);
  assert.match(await ask(`add server app/new 127.0.0.1:${two} weight 3`), /New server registered/);
  await becomes(three);
  await ask('enable server app/new');
  await becomes(two, three);
  await ask('set server app/s2 state maint');
  assert.match(await ask('del server app/s2'), /Server deleted/);
  await becomes(two);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  await becomes(two);
  assert.equal((await gateway.upgrade()).status, 200);
  await becomes(two);
  assert.match(await ask('get weight app/new'), /^3 \(initial 3\)/);
  const endpoints = JSON.parse((await gateway.admin('/v1/services')).text)[0].endpoints;
  assert.deepEqual(
    endpoints.map(({ name, admin }: { name: string; admin: string }) => [name, admin]),
    [
      ['s1', 'maint'],
      ['new', 'ready'],
    ],
  );
});

test('a level says what may be said; who says nothing is let go; garbage does no harm', async (t) => {
  const [web = 0] = await freePorts(1);
  const gateway = await start(
    t,
    `listeners: { web: { bind: "127.0.0.1:${web}", protocol: http, service: app } }
services: { app: { endpoints: ["127.0.0.1:9"], health: false } }
`,
    { runtime: 'operator' },
  );
  const socket = join(gateway.directory, 'run.sock');
  const ask = (line: string) => askSocket(socket, line);
  assert.equal(await ask('set server app/127.0.0.1:9 state maint'), 'Permission denied\n\n');
  assert.match(
    await ask('help'),
    /The following commands are valid at this level:\n {2}clear counters/,
  );
  assert.doesNotMatch(await ask('help'), /set server/);
  assert.match(await ask('\0\x01\xff;;; @1'), /Unknown command/);
  assert.match(await ask('@1 show version'), /^\d+\.\d+/);
  assert.match(await ask('show errors'), /^Total events captured on \[.*\] : 0\n\n$/);
  const flood = net.connect(socket);
  flood.on('error', () => {});
  const ended = new Promise((resolve) => flood.on('close', resolve));
  for (let sent = 0; sent < 40; sent++) flood.write('x'.repeat(65_536));
  await ended;
  assert.match(await ask('show backend'), /^# name\napp\n/);
});

test('a certificate is replaced by a transaction, until its file changes', async (t) => {
  const [port = 0] = await freePorts(1);
  const gateway = await start(
    t,
    `listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: https
    tls: { certificates: [{ cert: "{DIR}/certs/example.com.pem", key: "{DIR}/certs/example.com.key" }] }
    routes: [{ respond: { body: ok } }]
`,
    {
      runtime: 'admin',
      prepare: (directory) => makeCertificates(join(directory, 'certs')),
    },
  );
  const ask = (line: string) => askSocket(join(gateway.directory, 'run.sock'), line);
  const certs = join(gateway.directory, 'certs');
  const file = join(certs, 'example.com.pem');
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(client.getPeerCertificate().subject.CN as string);
        client.end();
      });
      client.on('error', reject);
    });
  const before = await shown();
  const other = 'wild.example.org';
  const pem = ['pem', 'key'].map((end) => readFileSync(join(certs, `${other}.${end}`), 'utf8'));
  const given = `set ssl cert ${file} <<\n${pem.join('').replaceAll(/\n+/g, '\n')}\n`;
  assert.match(await ask(`show ssl cert`), new RegExp(`# filename\n${file}`));
  assert.match(await ask(given), /^Transaction created for certificate .*!\n/);
  assert.equal(await shown(), before, 'nothing happens before the commit');
  assert.match(await ask(`commit ssl cert ${file}`), /^Committing .*\nSuccess!\n/);
  await eventually('the new one is shown', async () => (await shown()) !== before);
  assert.match(await ask(`set ssl cert ${file} <<\nno certificate\n`), /Transaction created/);
  assert.match(await ask(`commit ssl cert ${file}`), /Can't commit/);
  assert.match(await ask(`abort ssl cert ${file}`), /Transaction aborted/);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  await eventually('a reload reads the file', async () => (await shown()) === before);
});
