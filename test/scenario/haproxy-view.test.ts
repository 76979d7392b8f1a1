import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Haproxy, noHaproxy } from '../support/haproxy.ts';

const promtool = spawnSync('promtool', ['--version']).status === 0;
const skip = noHaproxy || (promtool ? false : 'no promtool program (Debian: prometheus)');

/** Name, type and labels of every family that a text tells. */
function shapesOf(text: string): Map<string, { type: string; labels: Set<string> }> {
  const shapes = new Map<string, { type: string; labels: Set<string> }>();
  for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (haproxy_\S+) (\S+)$/gm)) {
    shapes.set(name, { type, labels: new Set() });
  }
  for (const [, name = '', inner = ''] of text.matchAll(/^(haproxy_\w+)(?:\{(.*)\})? /gm)) {
    for (const [, label = ''] of inner.matchAll(/(\w+)="/g)) shapes.get(name)?.labels.add(label);
  }
  return shapes;
}

/** Every series of a text with its value, of the families that are asked for. */
function seriesOf(text: string, families: readonly string[]): Record<string, number> {
  const found = [...text.matchAll(/^haproxy_(\w+)(\{.*\})? (\S+)$/gm)].filter(
    ([, name = '', labels = '']) => families.includes(name) && !/proxy="metrics"/.test(labels),
  );
  return Object.fromEntries(
    found.map(([, name, labels = '', value]) => [`${name}${labels}`, Number(value)]),
  );
}

/** One request on a connection of its own; its status. */
function request(port: number, path: string, body?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const call = http.request({ port, path, method, agent: false }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
    });
    call.on('error', reject).end(body);
  });
}

async function serveStatuses(t: TestContext, port: number): Promise<void> {
  const server = http.createServer((question, answer) => {
    answer.statusCode = Number(question.url?.slice(1) || 200);
    question.resume().on('end', () => answer.end('done\n'));
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
}

/** The same proxies before the same servers, one of which is dead, by both programs. */
async function both(t: TestContext, workers = 1) {
  const [web = 0, raw = 0, theirs = 0, theirRaw = 0, metrics = 0, alive = 0, dead = 0] =
    await freePorts(7);
  await serveStatuses(t, alive);
  const haproxy = await Haproxy.start(
    t,
    `defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
frontend metrics
  bind 127.0.0.1:${metrics}
  http-request use-service prometheus-exporter
frontend web
  bind 127.0.0.1:${theirs}
  default_backend app
backend app
  balance roundrobin
  option httpchk GET /
  server s1 127.0.0.1:${alive} check inter 200ms weight 3 maxconn 9
  server s2 127.0.0.1:${dead} check inter 200ms backup
listen raw
  mode tcp
  bind 127.0.0.1:${theirRaw}
  server t1 127.0.0.1:${alive}
`,
  );
  const gateway = await Gateway.start(
    `metrics: { compat: haproxy }
listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
  raw: { bind: "127.0.0.1:${raw}", protocol: tcp, service: raw }
services:
  app:
    endpoints:
      - { name: s1, address: "127.0.0.1:${alive}", weight: 3, maxConnections: 9 }
      - { name: s2, address: "127.0.0.1:${dead}", backup: true }
    health: { type: http, interval: 200ms }
  raw: { endpoints: [{ name: t1, address: "127.0.0.1:${alive}" }], health: false }
`,
    { workers },
  );
  t.after(() => gateway.stop());
  const real = async () => (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
  const own = async () => (await gateway.admin('/metrics')).text;
  for (const scrape of [real, own]) {
    await eventually('the dead server is down, by a check', async () =>
      /server_check_status\{proxy="app",server="s2",state="L4CON"\} 1\n/.test(await scrape()),
    );
    await eventually('the other one was checked', async () =>
      /server_check_status\{proxy="app",server="s1",state="L7OK"\} 1\n/.test(await scrape()),
    );
  }
  return { haproxy, gateway, real, own, ports: [web, theirs], raw: [raw, theirRaw] };
}

/** What must be equal after the same load. */
const EQUAL = [
  ...['connections_total', 'sessions_total', 'current_sessions', 'status'].flatMap((what) =>
    ['frontend', 'backend', 'server'].map((kind) => `${kind}_${what}`),
  ),
  // Not of frontends: a client may begin again before its last connection is seen to end.
  ...['backend_max_sessions', 'server_max_sessions'],
  ...['http_responses_total', 'http_requests_total', 'requests_denied_total'].flatMap((what) =>
    ['frontend', 'backend', 'server'].map((kind) => `${kind}_${what}`),
  ),
  ...['weight', 'uweight', 'connection_errors_total', 'response_errors_total'].flatMap((what) => [
    `backend_${what}`,
    `server_${what}`,
  ]),
  ...['retry_warnings_total', 'redispatch_warnings_total', 'current_queue', 'max_queue'].flatMap(
    (what) => [`backend_${what}`, `server_${what}`],
  ),
  ...['client_aborts_total', 'server_aborts_total', 'loadbalanced_total'].flatMap((what) => [
    `backend_${what}`,
    `server_${what}`,
  ]),
  ...['active_servers', 'backup_servers', 'agg_server_status', 'agg_check_status'].map(
    (what) => `backend_${what}`,
  ),
  ...['check_status', 'check_code', 'check_up_down_total', 'limit_sessions'].map(
    (what) => `server_${what}`,
  ),
  ...['failed_header_rewriting_total', 'internal_errors_total'].map((what) => `frontend_${what}`),
  ...['intercepted_requests_total', 'denied_connections_total'].map((what) => `frontend_${what}`),
];

/** What the guide names as left out, each with its reason. */
const ABSENT = [
  ...['current_backend_ssl_key_rate', 'current_frontend_ssl_key_rate', 'current_run_queue'],
  ...['current_tasks', 'failed_resolutions', 'max_backend_ssl_key_rate'],
  ...['max_frontend_ssl_key_rate', 'pool_failures_total'],
]
  .map((name) => `haproxy_process_${name}`)
  .concat(
    ['need', 'safe_idle', 'unsafe_idle'].map(
      (what) => `haproxy_server_${what}_connections_current`,
    ),
  );

test("HAProxy's names, types, labels and values, after the same load as the real one", {
  skip,
}, async (t) => {
  const { real, own, ports, raw } = await both(t);
  for (const port of ports) {
    for (const path of ['/', '/', '/', '/404', '/302', '/500']) await request(port, path);
    await request(port, '/', 'x'.repeat(1000));
  }
  for (const port of raw) await request(port, '/');
  const settled = (text: string) =>
    /frontend_http_requests_total\{proxy="web"\} 7\n/.test(text) &&
    /frontend_current_sessions\{proxy="web"\} 0\n/.test(text) &&
    /backend_sessions_total\{proxy="raw"\} 1\n/.test(text);
  for (const scrape of [real, own]) {
    await eventually('all is counted', async () => settled(await scrape()));
  }
  const [theirs, text] = await Promise.all([real(), own()]);
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.deepEqual([checked.stderr, checked.status], ['', 0]);
  const shapes = shapesOf(theirs);
  const ours = shapesOf(text);
  for (const [name, shape] of ours) assert.deepEqual([name, shape], [name, shapes.get(name)]);
  t.diagnostic(`${ours.size} of ${shapes.size} families`);
  assert.deepEqual([...shapes.keys()].filter((name) => !ours.has(name)).sort(), ABSENT);
  // While a check is under way HAProxy tells the status of none.
  let pair: Record<string, number>[] = [];
  await eventually(
    'both tell the same',
    async () => {
      pair = (await Promise.all([own(), real()])).map((one) => seriesOf(one, EQUAL));
      return isDeepStrictEqual(pair[0], pair[1]);
    },
    5000,
  ).catch(() => assert.deepEqual(pair[0], pair[1]));
});

test('what boards draw over time: highest values, rates, bytes and times of single servers', {
  skip,
}, async (t) => {
  const { own, gateway, ports } = await both(t, 2);
  const [web = 0] = ports;
  const held = Array.from({ length: 5 }, () =>
    http.request({ port: web, method: 'POST', agent: false }),
  );
  for (const call of held) {
    call.on('error', () => {});
    call.write('begun');
  }
  const value = async (series: string) => (await gateway.metric(`haproxy_${series}`)) ?? Number.NaN;
  await eventually(
    'all are at work',
    async () => (await value('server_current_sessions{proxy="app",server="s1"}')) === 5,
  );
  for (const call of held) call.end();
  await eventually(
    'all are done',
    async () => (await value('server_current_sessions{proxy="app",server="s1"}')) === 0,
  );
  assert.equal(await value('server_max_sessions{proxy="app",server="s1"}'), 5);
  const seconds = (what: string, of = 'server') =>
    value(`${of}_max_${what}_time_seconds{proxy="app"${of === 'server' ? ',server="s1"' : ''}}`);
  const longest = await seconds('total');
  assert.ok(longest > 0, `the longest took ${longest} s`);
  assert.equal(await seconds('total', 'backend'), longest);
  assert.ok((await seconds('connect')) <= longest && (await seconds('queue')) <= longest);
  assert.ok((await seconds('response')) <= longest);
  await eventually(
    'connections are kept',
    async () => (await value('server_idle_connections_current{proxy="app",server="s1"}')) >= 1,
  );
  assert.equal(await value('server_used_connections_current{proxy="app",server="s1"}'), 0);
  const [idle, fds] = [await value('process_idle_time_percent'), await value('process_max_fds')];
  assert.ok(idle > 0 && idle <= 100 && fds > 64, `${idle} % idle, ${fds} files`);
  const [used, reserved] = [
    await value('process_pool_used_bytes'),
    await value('process_pool_allocated_bytes'),
  ];
  assert.ok(used > 1e6 && used <= reserved, `${used} of ${reserved} bytes of heap`);
  assert.equal(await value('backend_max_sessions{proxy="app"}'), 5);
  assert.equal(await value('frontend_max_sessions{proxy="web"}'), 5);
  assert.equal(await value('server_bytes_in_total{proxy="app",server="s1"}'), 25);
  assert.equal(await value('server_bytes_out_total{proxy="app",server="s1"}'), 25);
  await eventually('a rate was seen', async () => {
    const text = await own();
    return [
      /frontend_max_session_rate\{proxy="web"\} [1-9]/,
      /server_max_session_rate\{proxy="app",server="s1"\} [1-9]/,
      /process_max_connection_rate [1-9]/,
      /server_last_session_seconds\{proxy="app",server="s1"\} \d/,
      /server_last_session_seconds\{proxy="app",server="s2"\} -1/,
    ].every((wanted) => wanted.test(text));
  });
});
