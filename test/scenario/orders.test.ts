import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const CLI = new URL('../../src/main/sluice.ts', import.meta.url).pathname;

async function backend(t: TestContext, name: string) {
  const held: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    if (request.url === '/hold') held.push(response);
    else response.end(name);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { id: `127.0.0.1:${(server.address() as AddressInfo).port}`, held };
}

/** Runs the client against a daemon: what it printed, and its exit status. */
function run(gateway: Gateway, ...args: string[]) {
  const command = [CLI, '--admin', `http://127.0.0.1:${gateway.adminPort}`, ...args];
  return new Promise<{ text: string; status: number }>((resolve) => {
    execFile(process.execPath, command, { timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ text: stdout + stderr, status: typeof error?.code === 'number' ? error.code : 0 });
    });
  });
}

test('ready, drain, maint and weight, by the client', { timeout: 60_000 }, async (t) => {
  const one = await backend(t, 'one');
  const two = await backend(t, 'two');
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app:
    balance: round-robin
    drain: { timeout: 1s }
    endpoints: ["${one.id}", "${two.id}"]
`);
  t.after(() => gateway.stop());
  const url = `http://127.0.0.1:${port}`;
  const tally = async () => {
    const names = await Promise.all(
      Array.from({ length: 12 }, async () => (await fetch(url)).text()),
    );
    return names
      .toSorted()
      .join(' ')
      .replaceAll(/(\w+)( \1)+/g, (all, name) => {
        return `${name}*${all.split(' ').length}`;
      });
  };
  assert.equal(await tally(), 'one*6 two*6');
  const holding = [fetch(`${url}/hold`), fetch(`${url}/hold`)];
  await eventually('both hold one', () => one.held.length === 1 && two.held.length === 1);

  const waited = await run(gateway, 'drain', 'app', one.id);
  assert.match(waited.text, /drain, weight 1, 1 active\n1 at work\nafter 1 s 1 still at work/);
  assert.equal(waited.status, 1);
  await eventually('the daemon says so', async () => {
    return /drain timeout: 1 still at work/.test((await gateway.admin('/v1/events')).text);
  });
  assert.equal(await tally(), 'two*12');
  one.held[0]?.end('held');
  two.held[0]?.end('held');
  for (const answer of await Promise.all(holding)) assert.equal(await answer.text(), 'held');
  const done = await run(gateway, 'drain', 'app', one.id);
  assert.match(done.text, /no work is left/);
  assert.equal(done.status, 0);
  await eventually('the daemon says so', async () => {
    return /drained: no work is left/.test((await gateway.admin('/v1/events')).text);
  });

  await run(gateway, 'ready', 'app', one.id);
  assert.equal(await tally(), 'one*6 two*6');
  await run(gateway, 'maint', 'app', two.id);
  assert.equal(await tally(), 'one*12');
  await run(gateway, 'ready', 'app', two.id);
  assert.match((await run(gateway, 'weight', 'app', two.id, '3')).text, /up, weight 3/);
  assert.equal(await tally(), 'one*3 two*9');
  const wrong = await run(gateway, 'weight', 'app', two.id, 'many');
  assert.match(wrong.text, /0 to 256/);
  assert.equal(wrong.status, 2);
  const unknown = await run(gateway, 'drain', 'app', '127.0.0.1:1');
  assert.match(unknown.text, /no endpoint/);
  assert.equal(unknown.status, 1);
});

test('a plan is what a reload then does; reload by the client', { timeout: 60_000 }, async (t) => {
  const one = await backend(t, 'one');
  const [port = 0, other = 0] = await freePorts(2);
  const text = `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["${one.id}"] }
`;
  const gateway = await Gateway.start(text);
  t.after(() => gateway.stop());
  assert.equal(
    (await run(gateway, 'plan', '-c', gateway.configPath)).text,
    'nothing would change\n',
  );
  gateway.write(
    text
      .replace('service: app }', 'service: app, limits: { maxHeaders: 50 } }')
      .replace(
        'services:',
        `  two: { bind: "127.0.0.1:${other}", protocol: http, service: app }\nservices:`,
      ),
  );
  assert.equal(
    (await run(gateway, 'plan', '-c', gateway.configPath)).text,
    '+ listener two\n~ listener web: connections stay\n    limits.maxHeaders: 100 → 50\n',
  );
  assert.deepEqual(await run(gateway, 'reload'), { text: 'reloaded\n', status: 0 });
  await eventually('it serves', async () => {
    const answer = await fetch(`http://127.0.0.1:${other}`).catch(() => undefined);
    return answer?.status === 200;
  });
  gateway.write('listeners: 5\n');
  const refused = await run(gateway, 'reload');
  assert.match(refused.text, /sluice\.yaml:4:12: listeners: must be record, found 5/);
  assert.equal(refused.status, 1);
  assert.equal((await run(gateway, 'check', '-c', gateway.configPath)).status, 1);
});
