import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { sluice } from '../support/cli.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const OLD_KEY = 'k'.repeat(40);
const NEW_KEY = 'n'.repeat(40);

async function setUp(t: TestContext) {
  const [port = 0, one = 0, two = 0, ...spare] = await freePorts(6);
  const backends = [new Backend(one, 'one'), new Backend(two, 'two')];
  for (const backend of backends) await backend.start();
  const base = `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app:
    endpoints: ["127.0.0.1:${one}", "127.0.0.1:${two}"]
    balance: round-robin
    sticky: { cookie: { name: node } }
`;
  const gateway = await Gateway.start(`${base}cookieKey: ${OLD_KEY}\n`, { workers: 1 });
  t.after(async () => {
    await gateway.stop();
    for (const backend of backends) await backend.kill();
  });
  const reload = async (more: string) => {
    gateway.write(`${base}${more}`);
    return gateway.admin('/v1/reload', { method: 'POST' });
  };
  return { port, gateway, base, reload, spare };
}

const get = (port: number, path = '/', headers = {}) =>
  fetch(`http://127.0.0.1:${port}${path}`, { headers });

const refused = (port: number) =>
  get(port).then(
    () => false,
    () => true,
  );

function overSocket(socketPath: string, path: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    http
      .get({ socketPath, path }, (response) => resolve(response.resume().statusCode))
      .on('error', reject);
  });
}

test('a reload moves the admin API, its token and the demo endpoints', async (t) => {
  const { gateway, reload, spare, base } = await setUp(t);
  const [demoOne = 0, demoTwo = 0] = spare;
  const first = await reload(`demo: { whoami: "127.0.0.1:${demoOne}" }\n`);
  assert.equal(first.status, 200, first.text);
  assert.match(await (await get(demoOne)).text(), /whoami/);
  const second = await reload(`demo: { whoami: "127.0.0.1:${demoTwo}" }\n`);
  assert.equal(second.status, 200, second.text);
  assert.match(await (await get(demoTwo)).text(), /whoami/);
  assert.ok(await refused(demoOne), 'nobody listens at the old address');

  const [, , moved = 0] = spare;
  const path = join(gateway.directory, 'admin.sock');
  const binds = `["127.0.0.1:${moved}", "unix:${path}"]`;
  const own = (admin: string) => `admin: ${admin}\nworkers: 1\nshutdown: { timeout: 1s }\n${base}`;
  writeFileSync(gateway.configPath, own(`{ bind: ${binds}, token: "${OLD_KEY}" }`));
  // The order is answered where it came in, although that address is given up.
  const third = await gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal(third.status, 200, third.text);
  assert.ok(await refused(gateway.adminPort), 'the old address');
  assert.ok(await refused(demoTwo), 'demo is gone');
  assert.equal((await get(moved, '/v1/status')).status, 401);
  const authorization = `Bearer ${OLD_KEY}`;
  assert.equal((await get(moved, '/v1/status', { authorization })).status, 200);
  assert.equal(await overSocket(path, '/healthz'), 401);

  writeFileSync(gateway.configPath, own(`{ bind: "127.0.0.1:${gateway.adminPort}" }`));
  const back = await fetch(`http://127.0.0.1:${moved}/v1/reload`, {
    method: 'POST',
    headers: { authorization },
  });
  assert.equal(back.status, 200, await back.text());
  assert.equal((await gateway.admin('/v1/status')).status, 200);
  assert.equal(existsSync(path), false, 'the socket file is gone');
});

test('an address that is taken refuses the whole reload', async (t) => {
  const { port, gateway, reload, spare } = await setUp(t);
  const [demo = 0] = spare;
  const { status, text } = await reload(
    `demo: { whoami: ["127.0.0.1:${demo}", "127.0.0.1:${gateway.adminPort}"] }\n`,
  );
  assert.equal(status, 400, text);
  assert.match(text, /E_/);
  assert.ok(await refused(demo), 'what was opened is closed again');
  assert.equal((await get(port)).status, 200);
  assert.equal((await gateway.admin('/v1/status')).status, 200);
  // An upgrade gives over what is there.
  assert.equal((await reload(`demo: { whoami: "127.0.0.1:${demo}" }\n`)).status, 200);
  assert.equal((await gateway.upgrade()).status, 200);
  assert.match(await (await get(demo)).text(), /whoami/);
});

test('a reload changes the key of cookies; those of the key before are understood', async (t) => {
  const { port, reload } = await setUp(t);
  const cookieOf = (answer: Response) => answer.headers.get('set-cookie')?.split(';')[0] ?? '';
  const first = await get(port);
  const old = cookieOf(first);
  const endpoint = first.headers.get('x-backend');
  assert.equal((await reload(`cookieKey: ${NEW_KEY}\n`)).status, 200);
  for (let round = 0; round < 4; round++) {
    const answer = await get(port, '/', { cookie: old });
    assert.equal(answer.headers.get('x-backend'), endpoint);
  }
  const fresh = new Set<string>();
  for (let round = 0; round < 4; round++) fresh.add(cookieOf(await get(port)));
  assert.equal(fresh.size, 2);
  assert.ok(!fresh.has(old), 'new cookies are signed with the new key');
  // Two keys later the first is forgotten.
  assert.equal((await reload(`cookieKey: ${'m'.repeat(40)}\n`)).status, 200);
  assert.notEqual(cookieOf(await get(port, '/', { cookie: old })), '');
});

test('plan and log name what takes an upgrade or a restart, until it is in force', async (t) => {
  const { gateway, reload } = await setUp(t);
  writeFileSync(
    gateway.configPath,
    `${readFileSync(gateway.configPath, 'utf8')}user: nobody\ntickets: { rotate: 6h }\n`,
  );
  const admin = `http://127.0.0.1:${gateway.adminPort}`;
  const plan = await sluice(admin, 'plan', '-c', gateway.configPath);
  assert.match(plan.out, /~ user: takes an upgrade or a restart/);
  assert.match(plan.out, /~ tickets\n/);
  assert.equal((await reload('user: nobody\n')).status, 200);
  await eventually('the log tells of it', () => gateway.output.includes('user: takes an upgrade'));
  const again = await sluice(admin, 'plan', '-c', gateway.configPath);
  assert.match(again.out, /user: takes an upgrade or a restart/);
});
