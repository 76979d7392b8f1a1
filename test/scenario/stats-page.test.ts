import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { STAT_COLUMNS } from '../../src/model/stat-row.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Haproxy, noHaproxy } from '../support/haproxy.ts';

const noChromium = spawnSync('chromium', ['--version']).error ? 'needs chromium' : false;
const AUTH = { authorization: `Basic ${Buffer.from('boss:secret').toString('base64')}` };

async function setUp(t: TestContext, workers = 2) {
  const [web = 0, one = 0, dead = 0] = await freePorts(3);
  const server = http.createServer((_, answer) => answer.end('hello'));
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(one, '127.0.0.1', resolve));
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    routes:
      - match: { path: { regex: "^/stats(;|$)" } }
        stats: { refresh: 5s, admin: true }
        basicAuth: { users: { boss: secret } }
      - match: { path: { regex: "^/open(;|$)" } }
        stats: { hideVersion: true }
      - service: app
services:
  app:
    endpoints: [{ name: s1, address: "127.0.0.1:${one}" }, { name: s2, address: "127.0.0.1:${dead}" }]
    health: { type: http, interval: 200ms }
`,
    { workers },
  );
  t.after(() => gateway.stop());
  const get = (path: string, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${web}${path}`, { redirect: 'manual', ...init });
  const table = async (path = '/open;csv') => rows(await (await get(path)).text());
  return { gateway, web, get, table };
}

/** Rows of a table in CSV, by `pxname/svname`. */
function rows(text: string): Map<string, Record<string, string>> {
  const [head = '', ...lines] = text.trim().split('\n');
  assert.ok(head.startsWith('# ') && head.endsWith(','), head);
  const names = head.slice(2, -1).split(',');
  return new Map(
    lines.map((line) => {
      const values = line.split(',');
      assert.equal(values.length, names.length + 1, line);
      const row = Object.fromEntries(names.map((name, at) => [name, values[at] ?? '']));
      return [`${row['pxname']}/${row['svname']}`, row];
    }),
  );
}

test('the table sums all workers, under the columns of HAProxy', { skip: noHaproxy }, async (t) => {
  const { get, table, web } = await setUp(t);
  const count = 20;
  for (let sent = 0; sent < count; sent++) {
    await new Promise<void>((resolve, reject) => {
      const call = http.get({ port: web, path: '/x', agent: false }, (answer) => {
        answer.resume().on('end', resolve);
      });
      call.on('error', reject);
    });
  }
  await eventually(
    'all are counted',
    async () => (await table()).get('app/BACKEND')?.['stot'] === `${count}`,
  );
  const found = await table();
  assert.deepEqual([...found.keys()], ['web/FRONTEND', 'app/s1', 'app/s2', 'app/BACKEND']);
  assert.equal(found.get('app/s1')?.['hrsp_2xx'], String(count));
  assert.equal(found.get('app/s1')?.['bout'], String(count * 5));
  await eventually(
    'the dead one is down',
    async () => (await table()).get('app/s2')?.['status'] === 'DOWN',
  );
  assert.match((await table()).get('app/s2')?.['check_status'] ?? '', /L4CON$/);
  assert.deepEqual(
    [...(await table('/open;csv;up')).keys()],
    ['web/FRONTEND', 'app/s1', 'app/BACKEND'],
  );
  const haproxy = await Haproxy.start(
    t,
    'defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nbackend app\n',
  );
  const real = (await haproxy.ask('show stat')).split('\n')[0] ?? '';
  const own = (await (await get('/open;csv')).text()).split('\n')[0] ?? '';
  assert.equal(own, `${real.split(',-,')[0]},`);
  assert.equal(own.split(',').length - 1, STAT_COLUMNS.length);
});

test('the page asks for a password, refreshes itself, and takes orders only where it may', async (t) => {
  const { get, table } = await setUp(t);
  const closed = await get('/stats');
  assert.equal(closed.status, 401);
  const page = await get('/stats', { headers: AUTH });
  assert.deepEqual([page.status, page.headers.get('refresh')], [200, '5']);
  assert.match(page.headers.get('content-security-policy') ?? '', /^default-src 'none'/);
  const text = await page.text();
  assert.match(text, /<form method="post" action="\/stats">/);
  assert.equal((await get('/stats;norefresh', { headers: AUTH })).headers.get('refresh'), null);
  const open = await (await get('/open')).text();
  assert.doesNotMatch(open, /<form|Sluice \d/);
  const iid = /name="b" value="#(\d+)"/.exec(text)?.[1];
  const order = async (path: string, body: string, headers: Record<string, string>) => {
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const answer = await get(path, { method: 'POST', body, headers: { ...type, ...headers } });
    return [answer.status, answer.headers.get('location')];
  };
  const drain = `s=s1&action=drain&b=%23${iid}`;
  assert.deepEqual(await order('/stats', drain, {}), [401, null]);
  assert.deepEqual(await order('/open', drain, {}), [303, '/open;st=DENY']);
  const foreign = { ...AUTH, origin: 'http://evil.test' };
  assert.deepEqual(await order('/stats', drain, foreign), [303, '/stats;st=DENY']);
  assert.equal((await table()).get('app/s1')?.['status']?.startsWith('UP'), true);
  assert.deepEqual(await order('/stats', drain, AUTH), [303, '/stats;st=DONE']);
  await eventually('it drains', async () => (await table()).get('app/s1')?.['status'] === 'DRAIN');
  const cases = [
    ['s=s1&s=none&action=ready', 'PART'],
    ['action=ready', 'NONE'],
    ['s=s1&action=odd', 'ERRP'],
    [`s=${'x'.repeat(20_000)}&action=ready`, 'EXCD'],
  ] as const;
  for (const [body, outcome] of cases) {
    const got = await order('/stats', `${body}&b=%23${iid}`, AUTH);
    assert.deepEqual(got, [303, `/stats;st=${outcome}`]);
  }
  await eventually('it is back', async () =>
    /^UP/.test((await table()).get('app/s1')?.['status'] ?? ''),
  );
  assert.match(await (await get('/stats;st=DONE', { headers: AUTH })).text(), /was carried out/);
  assert.equal((await get('/stats', { method: 'DELETE', headers: AUTH })).status, 405);
});

test('orders from a page need a password', async () => {
  const [port = 0] = await freePorts(1);
  const config = `listeners: { web: { bind: "127.0.0.1:${port}", protocol: http, routes: [{ stats: { admin: true } }] } }
`;
  await assert.rejects(Gateway.start(config), /routes\.0\.stats\.admin: needs `basicAuth`/);
});

test('a browser shows the page with its form', { skip: noChromium }, async (t) => {
  const { web, gateway, table } = await setUp(t);
  const dump = (path: string) =>
    spawnSync(
      'chromium',
      [
        ...[
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          '--virtual-time-budget=3000',
          '--dump-dom',
        ],
        ...[
          `--user-data-dir=${gateway.directory}/chromium`,
          `http://boss:secret@127.0.0.1:${web}${path}`,
        ],
      ],
      { encoding: 'utf8', timeout: 60_000 },
    ).stdout;
  t.after(() => rmSync(`${gateway.directory}/chromium`, { recursive: true, force: true }));
  await eventually(
    'the dead one is down',
    async () => (await table()).get('app/s2')?.['status'] === 'DOWN',
  );
  const dom = dump('/stats;norefresh');
  assert.equal((dom.match(/<table>/g) ?? []).length, 2);
  assert.match(dom, /<tr class="down"><td><input type="checkbox" name="s" value="s2"><\/td>/);
  assert.match(dom, /<option value="drain">Set state to DRAIN<\/option>/);
});
