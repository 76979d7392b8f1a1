import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, lstatSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sluice } from '../support/cli.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const SLUICED = new URL('../../src/main/sluiced.ts', import.meta.url).pathname;

async function setUp(t: TestContext) {
  const [port = 0, one = 0, two = 0] = await freePorts(3);
  const gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${one}", "127.0.0.1:${two}"], health: false }
`);
  t.after(() => gateway.stop());
  return { gateway, port, one, two, url: `http://127.0.0.1:${gateway.adminPort}` };
}

/** One raw request, so that any header and path can be sent. */
function ask(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<{ status: number; text: string; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', headers = {}, body } = options;
    const sent = request({ host: '127.0.0.1', port, path, method, headers }, (answer) => {
      let text = '';
      answer.on('data', (data: Buffer) => {
        text += data.toString();
      });
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, text, headers: answer.headers }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

test('the admin API refuses what it must, in words', async (t) => {
  const { gateway, one } = await setUp(t);
  const port = gateway.adminPort;
  const endpoint = `/v1/services/app/endpoints/127.0.0.1:${one}`;
  const json = { 'content-type': 'application/json' };
  const cases: [string, number, RegExp, Parameters<typeof ask>[2]?][] = [
    ['/healthz', 403, /forbidden/, { headers: { host: 'evil.example' } }],
    ['/healthz', 403, /forbidden/, { headers: { host: '127.0.0.1.evil.example:80' } }],
    ['/healthz', 403, /forbidden/, { headers: { origin: 'http://127.0.0.1' } }],
    ['/v1/reload', 405, /use POST/],
    ['/v9/status', 404, /openapi\.json/],
    ['/v1/services/%ff/endpoints', 400, /malformed/],
    ['//', 404, /nothing/],
    ['/v1/services/__proto__/endpoints', 404, /no service/],
    ['/v1/services/nope/endpoints', 404, /no service \\"nope\\"/],
    [endpoint, 400, /must be JSON/, { method: 'PUT', body: '{', headers: json }],
    [endpoint, 400, /must hold/, { method: 'PUT', body: 'null', headers: json }],
    [endpoint, 400, /must hold/, { method: 'PUT', body: '{"weight":257}', headers: json }],
    [endpoint, 400, /must hold/, { method: 'PUT', body: '{"weight":1,"x":1}', headers: json }],
    [
      endpoint,
      400,
      /content-type/,
      { method: 'PUT', body: '{"weight":1}', headers: { 'content-type': 'text/plain' } },
    ],
    [endpoint, 413, /1 MiB/, { method: 'PUT', body: ' '.repeat(1_048_577), headers: json }],
    ['/v1/explain', 400, /`listen` is missing/],
  ];
  for (const [path, status, message, options] of cases) {
    const answer = await ask(port, path, options);
    assert.equal(answer.status, status, `${path}: ${answer.text}`);
    assert.match(answer.text, message);
    assert.ok(JSON.parse(answer.text).error.code, 'a code for programs');
  }
  const head = await ask(port, '/readyz', { method: 'HEAD' });
  assert.deepEqual([head.status, head.text], [200, '']);
  assert.equal((await ask(port, '/v1/reload', {})).headers['allow'], 'POST');
});

test('the description names every operation, and each answers', async (t) => {
  const { gateway } = await setUp(t);
  const { text } = await ask(gateway.adminPort, '/v1/openapi.json');
  const { openapi, paths } = JSON.parse(text);
  assert.equal(openapi, '3.1.0');
  for (const [path, operations] of Object.entries(paths as Record<string, object>)) {
    if (!('get' in operations) || path.endsWith('/stream')) continue;
    const real = path
      .replace('{service}', 'app')
      .concat(path === '/v1/explain' ? '?listen=:1' : '');
    assert.equal((await ask(gateway.adminPort, real)).status, 200, path);
  }
});

test('events are told as they happen, to sixteen readers at most', async (t) => {
  const { gateway, one, url } = await setUp(t);
  const path = `/v1/services/app/endpoints/127.0.0.1:${one}`;
  const order = (state: string) =>
    ask(gateway.adminPort, path, {
      method: 'PUT',
      body: JSON.stringify({ state }),
      headers: { 'content-type': 'application/json' },
    });
  const heard: string[] = [];
  let open = false;
  const reader = request(`${url}/v1/events/stream`, (answer) => {
    answer.on('data', (data: Buffer) => heard.push(data.toString()));
    open = true;
  });
  t.after(() => reader.destroy());
  reader.end();
  await eventually('the stream is open', () => open);
  await order('drain');
  await eventually('the order is heard', () => heard.join('').includes('"reason":"admin drain"'));
  const streams = Array.from({ length: 20 }, () => {
    const one = request(`${url}/v1/events/stream`);
    t.after(() => one.destroy());
    one.on('error', () => {});
    one.end();
    return new Promise<number>((resolve) =>
      one.on('response', (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      }),
    );
  });
  const statuses = await Promise.all(streams);
  assert.equal(statuses.filter((status) => status === 200).length, 15);
  assert.equal(statuses.filter((status) => status === 503).length, 5);
});

test('the command line: every verb, JSON, exit statuses', async (t) => {
  const { gateway, one, two, url } = await setUp(t);
  const run = (...args: string[]) => sluice(url, ...args);
  const endpoint = `127.0.0.1:${one}`;
  const verbs = ['status', 'listeners', 'services', 'endpoints', 'config', 'events', 'top'];
  const viewed = verbs.map(async (verb) => {
    const [plain, json] = await Promise.all([run(verb), run(verb, '--json')]);
    assert.equal(plain.status, 0, plain.err);
    assert.doesNotThrow(() => JSON.parse(json.out), verb);
  });
  await Promise.all(viewed);
  const weighed = await run('weight', 'app', endpoint, '7', '--json');
  assert.equal(JSON.parse(weighed.out).weight, 7);
  for (const state of ['drain', 'maint', 'ready']) {
    const { out, status } = await run(state, 'app', endpoint);
    assert.equal(status, 0);
    assert.match(out, new RegExp(`${endpoint}: ${state === 'ready' ? 'up' : state}, weight 7`));
  }
  assert.match((await run('reload')).out, /reloaded/);
  assert.match((await run('endpoints', 'app')).out, new RegExp(`127.0.0.1:${two} +up`));
  assert.match((await run('plan', '-c', gateway.configPath)).out, /nothing would change/);

  const wrong: [string[], number, RegExp][] = [
    [['endpoints', 'nope'], 1, /no service "nope"; there are: app/],
    [['drain', 'app', '1.2.3.4:5'], 1, /service "app" has no endpoint "1.2.3.4:5"/],
    [['weight', 'app', endpoint, 'many'], 2, /a whole number, from 0 to 256/],
    [['drain', 'app', endpoint, '--wait', 'x'], 2, /seconds/],
    [['statsu'], 2, /Did you mean status/],
    [['--admin', 'nonsense', 'status'], 3, /use http:\/\/HOST:PORT or unix:\/PATH/],
    [['--admin', 'http://127.0.0.1:9', 'status'], 3, /is sluiced running/],
    [['--admin', 'unix:/nowhere/at/all', 'status'], 3, /unix:\/nowhere\/at\/all/],
  ];
  const refused = wrong.map(async ([args, status, message]) => {
    const done = await run(...args);
    assert.equal(done.status, status, `${args.join(' ')}: ${done.err}`);
    assert.match(done.err, message);
  });
  await Promise.all(refused);
  const broken = join(gateway.directory, 'broken.yaml');
  writeFileSync(broken, 'listeners: { web: { bnd: ":1" } }\n');
  const checked = await run('check', '-c', broken, '--json');
  assert.equal(checked.status, 1);
  assert.equal(JSON.parse(checked.out).diagnostics[0].line, 1);
  for (const shell of ['bash', 'zsh', 'fish']) {
    assert.match((await run('completion', shell)).out, /explain/);
  }
  assert.equal((await run('explain', '--help')).status, 0);
});

/** A daemon that need not become ready. */
function daemon(t: TestContext, config: string) {
  const child = spawn(process.execPath, [SLUICED, '--config', config]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    await ended;
  });
  return { process: child, output: () => output };
}

test('admin on a unix socket: for owner and group; a live or foreign file is refused', async (t) => {
  const { gateway } = await setUp(t);
  const path = join(gateway.directory, 'admin.sock');
  const [port = 0] = await freePorts(1);
  const config = join(gateway.directory, 'second.yaml');
  writeFileSync(
    config,
    `admin: { bind: "unix:${path}" }
workers: 1
listeners: { web: { bind: "127.0.0.1:${port}", protocol: http, routes: [{ respond: { body: hi } }] } }
`,
  );
  const second = daemon(t, config);
  await eventually('it answers', async () => (await sluice(`unix:${path}`, 'status')).status === 0);
  assert.equal(lstatSync(path).mode & 0o777, 0o660);
  const other = join(gateway.directory, 'third.yaml');
  copyFileSync(config, other);
  const third = daemon(t, other);
  await eventually('another one is refused', () => third.process.exitCode !== null);
  assert.match(third.output(), /another process answers there/);
  const { workers } = JSON.parse((await sluice(`unix:${path}`, 'status', '--json')).out);
  second.process.kill('SIGKILL');
  process.kill(workers[0].pid, 'SIGKILL');
  await eventually('it is gone', () => second.process.signalCode !== null);
  const fourth = daemon(t, config);
  await eventually('what a dead one left is replaced', async () => {
    assert.equal(fourth.process.exitCode, null, fourth.output());
    return (await sluice(`unix:${path}`, 'status')).status === 0;
  });
});
