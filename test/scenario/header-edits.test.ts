import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { ask } from '../support/haproxy-lab.ts';

let gateway: Gateway;
let port = 0;
let backendPort = 0;

/** Answers what it is asked for: a status, fields, and what it got. */
const answer: http.RequestListener = (request, response) => {
  const url = new URL(request.url ?? '', 'http://x');
  response.statusCode = Number(url.searchParams.get('status') ?? 200);
  response.setHeader('location', 'http://inner.test:81/home?a');
  response.setHeader('set-cookie', ['a=1; Path=/inner', 'b=2; path=/inner/x']);
  response.end(JSON.stringify(request.headers));
};
let backend = http.createServer(answer);

async function listen(): Promise<void> {
  await new Promise<void>((resolve) => backend.listen(backendPort, '127.0.0.1', resolve));
}

before(async () => {
  const [web = 0, app = 0] = await freePorts(2);
  [port, backendPort] = [web, app];
  await listen();
  gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    routes:
      - match: { path: /seen }
        respond: { template: "{client} {cookie.id} {query.q} {nothing}", headers: { content-type: text/x } }
      - match: { path: /limited }
        rateLimit: { requests: 1, per: 1h, status: 503 }
        respond: { body: in }
      - match: { live: { app: { below: 1 } } }
        respond: { status: 418, body: nobody }
      - service: app
        headers:
          request:
            set: { x-id: "{requestId}", x-port: "{clientPort}" }
            replace: { x-old: { match: "^(.*)-(.*)$", replace: "$2-$1 {host}" } }
          response:
            - set: { x-id: "{requestId}" }
              replace:
                location: { match: "^http://inner\\\\.test(:\\\\d+)?/(.*)$", replace: "{scheme}://{authority}/$2" }
                set-cookie: { match: "(?i)(path=)/inner", replace: "$1/" }
            - status: "400-499,503"
              set: { x-failed: "yes" }
            - status: 404
              remove: [location]
services:
  app:
    endpoints: ["127.0.0.1:${app}"]
    health: { type: tcp, interval: 100ms, fastInterval: 50ms, downInterval: 50ms }
`);
});

after(async () => {
  backend.closeAllConnections();
  backend.close();
  await gateway.stop();
});

test('values are replaced by expression, filled with what is asked for', async () => {
  const { headers, body } = await ask(port, {
    port,
    path: '/a',
    headers: { 'x-old': 'one-$1-two' },
  });
  assert.equal(headers.location, 'http://www.example.com/home?a');
  assert.deepEqual(headers['set-cookie'], ['a=1; Path=/', 'b=2; path=//x']);
  const got = JSON.parse(body) as Record<string, string>;
  assert.equal(got['x-old'], 'two-one-$1 www.example.com');
  assert.match(got['x-port'] ?? '', /^\d{2,5}$/);
  assert.match(got['x-id'] ?? '', /^[0-9a-f]{32}$/);
  assert.equal(headers['x-id'], got['x-id']);
  const other = await ask(port, { port, path: '/a' });
  assert.notEqual(other.headers['x-id'], headers['x-id']);
});

test('edits of some statuses leave other answers alone', async () => {
  const failed = async (status: number) => {
    const { headers } = await ask(port, { port, path: `/?status=${status}` });
    return [headers['x-failed'], headers.location !== undefined];
  };
  assert.deepEqual(await failed(200), [undefined, true]);
  assert.deepEqual(await failed(404), ['yes', false]);
  assert.deepEqual(await failed(499), ['yes', true]);
  assert.deepEqual(await failed(500), [undefined, true]);
  assert.deepEqual(await failed(503), ['yes', true]);
});

test('an own answer may tell of the request; a limit has a status of its own', async () => {
  const seen = await ask(port, { port, path: '/seen?p&q=a%20b', headers: { cookie: 'id=7' } });
  assert.deepEqual(
    [seen.body, seen.headers['content-type']],
    ['127.0.0.1 7 a%20b {nothing}', 'text/x'],
  );
  assert.equal((await ask(port, { port, path: '/limited' })).body, 'in');
  const limited = await ask(port, { port, path: '/limited' });
  assert.equal(limited.status, 503);
  assert.ok(Number(limited.headers['retry-after']) > 0);
});

test('a route for a service without a live endpoint', async () => {
  const status = async () => (await ask(port, { port, path: '/' })).status;
  assert.equal(await status(), 200);
  backend.closeAllConnections();
  backend.close();
  await eventually('it is noticed', async () => (await status()) === 418);
  backend = http.createServer(answer);
  await listen();
  await eventually('it is back', async () => (await status()) === 200);
});
