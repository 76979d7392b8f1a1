import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import { WebSocket, WebSocketServer } from 'ws';
import { decodeProxyHeader, encodeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { ConsulServer, noConsul } from '../support/consul.ts';
import { DnsServer } from '../support/dns-server.ts';
import { Example } from '../support/example.ts';
import { eventually, freePorts } from '../support/gateway.ts';

/** Listens on a port of 127.0.0.1; the returned function ends it with all its connections. */
async function listen(t: TestContext, server: net.Server, port: number): Promise<() => void> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const end = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  t.after(end);
  return end;
}

/** A server that says its name to whoever connects. */
function greeter(name: string): net.Server {
  return net.createServer((socket) => socket.end(name));
}

/** Connects, sends, and collects what comes until the end. */
function talk(port: number, text: string | Buffer = ''): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let received = '';
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on('data', (data) => {
      received += data.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(received));
  });
}

async function tally(times: number, ask: () => Promise<string>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let turn = 0; turn < times; turn++) {
    const answer = await ask();
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}

type Answer = { status: number; headers: http.IncomingHttpHeaders; text: string };

function ask(port: number, host: string, path: string, more: http.RequestOptions = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const headers = { host, ...more.headers };
    const options = {
      host: '127.0.0.1',
      port,
      path,
      agent: false,
      timeout: 30_000,
      ...more,
      headers,
    };
    const request = http.request(options, (response) => {
      let text = '';
      response.on('data', (data) => {
        text += data;
      });
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end();
  });
}

/** Answers with its name and what it was asked. */
function web(name: string): http.Server {
  return http.createServer((request, response) => {
    response.setHeader('server', 'inside');
    response.end(JSON.stringify({ name, url: request.url, headers: request.headers }));
  });
}

test('01-tcp: three to one, a backup, rise and fall', { timeout: 60_000 }, async (t) => {
  const example = await Example.read('01-tcp');
  const start = (name: string, port: number) => listen(t, greeter(name), example.port(port));
  const endThree = await start('three', 6379);
  const endOne = await start('one', 6380);
  await start('backup', 6381);
  const gateway = await example.start(t);
  const hear = () => talk(example.port(16_379));
  assert.deepEqual(await tally(40, hear), { three: 30, one: 10 });
  endThree();
  assert.deepEqual(await tally(10, hear), { one: 10 });
  const checks = async () => {
    const { text } = await gateway.admin('/v1/services/redis/endpoints');
    return (JSON.parse(text) as { check: string }[]).map(({ check }) => check);
  };
  endOne();
  assert.deepEqual(await tally(10, hear), { backup: 10 });
  await eventually('both are down', async () => `${await checks()}` === 'down,down,up');
  await start('three', 6379);
  await eventually('it is back', async () => (await hear()) === 'three');
  assert.deepEqual(await tally(10, hear), { three: 10 });
});

test('02-http-routes: hosts, prefixes, limits, canaries, stickiness', async (t) => {
  const example = await Example.read('02-http-routes');
  for (const port of [9001, 9002, 9009, 9003]) {
    await listen(t, web(`${port}`), example.port(port));
  }
  const last = web('9004');
  new WebSocketServer({ server: last }).on('connection', (socket) => socket.send('9004'));
  await listen(t, last, example.port(9004));
  await example.start(t);
  const port = example.port(8080);
  const old = await ask(port, 'old.example.com', '/a/b?c=d');
  assert.deepEqual([old.status, old.headers.location], [308, 'https://www.example.com/a/b?c=d']);
  const api = await ask(port, 'www.example.com', '/api/users?id=1');
  const seen = JSON.parse(api.text);
  assert.match(seen.name, /^900[12]$/);
  assert.deepEqual([seen.url, seen.headers['x-tier']], ['/users?id=1', 'api']);
  assert.equal(api.headers.server, undefined);
  const put = await ask(port, 'www.example.com', '/api/users', { method: 'PUT' });
  assert.match(JSON.parse(put.text).name, /^900[34]$/);
  const canary = await ask(port, 'www.example.com', '/', { headers: { 'x-canary': '1' } });
  assert.equal(JSON.parse(canary.text).name, '9009');
  const first = await ask(port, 'www.example.com', '/');
  assert.match(
    first.headers['set-cookie']?.[0] ?? '',
    /^SLUICE=[\w-]+; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax$/,
  );
  const cookie = first.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  const again = () => ask(port, 'www.example.com', '/', { headers: { cookie } });
  const same = await tally(8, async () => JSON.parse((await again()).text).name);
  assert.deepEqual(same, { [JSON.parse(first.text).name]: 8 });
  const none = await ask(port, 'elsewhere.test', '/');
  assert.deepEqual([none.status, none.text], [404, '404 Not Found\n']);
  // 50 at once and 100 a second, also where asking takes seconds.
  const since = performance.now();
  const all = await Promise.all(
    Array.from({ length: 400 }, () => ask(port, 'www.example.com', '/api/x')),
  );
  const limited = all.filter(({ status }) => status === 429);
  const allowed = 50 + (performance.now() - since) / 10;
  assert.ok(limited.length >= 10 && limited.length >= 400 - allowed, `${limited.length} of 400`);
  assert.equal(limited[0]?.headers['retry-after'], '1');
});

test('02-http-routes: a WebSocket follows the route', async (t) => {
  const example = await Example.read('02-http-routes');
  const servers = [9003, 9004].map((port) => ({ port, server: web(`${port}`) }));
  for (const { port, server } of servers) {
    new WebSocketServer({ server }).on('connection', (socket) => socket.send('web'));
    await listen(t, server, example.port(port));
  }
  await example.start(t);
  const socket = new WebSocket(`ws://127.0.0.1:${example.port(8080)}/chat`, {
    headers: { host: 'www.example.com' },
  });
  const [data] = await once(socket, 'message');
  socket.terminate();
  assert.equal(String(data), 'web');
});

/** A DNS server over UDP and TCP that answers its own address to every question. */
async function nameServer(t: TestContext, port: number, address: string) {
  const answer = (question: Buffer) => {
    const query = decode(question);
    const name = query.questions?.[0]?.name ?? '';
    return encode({
      type: 'response',
      id: query.id ?? 0,
      questions: query.questions ?? [],
      answers: [{ type: 'A', name, ttl: 1, data: address }],
    });
  };
  const udp = dgram.createSocket('udp4');
  udp.on('message', (data, from) => udp.send(answer(data), from.port, from.address));
  udp.bind(port, '127.0.0.1');
  await once(udp, 'listening');
  const endTcp = await listen(t, greeter(address), port);
  let open = true;
  const end = () => {
    if (open) udp.close();
    open = false;
    endTcp();
  };
  t.after(end);
  return end;
}

test('05-udp: TCP and UDP on one port; flows stay and leave a dead endpoint', async (t) => {
  const example = await Example.read('05-udp');
  const ends = {
    '10.0.0.1': await nameServer(t, example.port(5301), '10.0.0.1'),
    '10.0.0.2': await nameServer(t, example.port(5302), '10.0.0.2'),
  };
  await example.start(t);
  const port = example.port(5353);
  assert.match(await talk(port), /^10\.0\.0\.[12]$/);
  const socket = dgram.createSocket('udp4');
  t.after(() => socket.close());
  // Only answers from the published address are heard.
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const resolve = async () => {
    const answer = once(socket, 'message', { signal: AbortSignal.timeout(30_000) });
    socket.send(encode({ type: 'query', id: 7, questions: [{ type: 'A', name: 'a.test' }] }));
    const [data] = await answer;
    const first = decode(data).answers?.[0];
    return first?.type === 'A' ? first.data : '';
  };
  const [chosen = ''] = Object.keys(await tally(6, resolve));
  assert.deepEqual(await tally(3, resolve), { [chosen]: 3 });
  ends[chosen as keyof typeof ends]();
  assert.notEqual(await resolve(), chosen);
});

test('06-consul: passing instances of a tag are followed, and outlive Consul; SRV for TCP', {
  skip: noConsul,
  timeout: 90_000,
}, async (t) => {
  const example = await Example.read('06-consul');
  const [one = 0, two = 0, other = 0, database = 0, ...ports] = await freePorts(7);
  for (const port of [one, two, other]) await listen(t, web(`${port}`), port);
  await listen(t, greeter('sql'), database);
  const consul = new ConsulServer([example.port(8500), ...ports]);
  const names = new DnsServer();
  t.after(() => Promise.all([consul.kill(), names.close()]));
  await Promise.all([consul.start(), names.start()]);
  names.records = [
    {
      name: '_postgres._tcp.db.test',
      type: 'SRV',
      data: { target: 'db1.test', port: database, priority: 1, weight: 1 },
    },
    { name: 'db1.test', type: 'A', data: '127.0.0.1' },
  ];
  const register = (id: string, port: number, tag: string) =>
    consul.register(id, port, '127.0.0.1', {
      ...{ Name: 'web', Tags: [tag] },
      ...(id === 'two' ? { Check: { TTL: '60s', Status: 'passing' } } : {}),
    });
  await register('one', one, 'v2');
  await register('other', other, 'v1');
  const server = `type: SRV, server: "127.0.0.1:${names.port}"`;
  const gateway = await example.start(t, (text) => text.replace('type: SRV', server), {
    env: { CONSUL_HTTP_TOKEN: 'anonymous' },
  });
  const port = example.port(8080);
  const served = (wanted: number[]) =>
    eventually(`served by ${wanted}`, async () => {
      const counts = await tally(8, async () => JSON.parse((await ask(port, 'a', '/')).text).name);
      return `${Object.keys(counts).sort()}` === `${wanted.map(String).sort()}`;
    });
  await served([one]);
  await register('two', two, 'v2');
  await served([one, two]);
  await consul.tell('two', 'fail');
  await served([one]);
  await consul.tell('two', 'pass');
  await served([one, two]);
  await consul.deregister('one');
  await served([two]);
  assert.equal(await talk(example.port(5432)), 'sql');
  await consul.kill();
  const age = () => gateway.metric('sluice_discovery_age_seconds{service="web"}');
  await eventually('it is said to be away', async () => ((await age()) ?? 0) > 1);
  await served([two]);
});

test('07-proxy-protocol: the client survives a balancer in front and reaches the backend', async (t) => {
  const example = await Example.read('07-proxy-protocol');
  await listen(t, web('web'), example.port(9001));
  const mail = net.createServer((socket) =>
    socket.once('data', (data: Buffer) => {
      const decoded = decodeProxyHeader(data);
      const source = decoded.kind === 'value' ? decoded.header.source : decoded;
      socket.end(JSON.stringify(source));
    }),
  );
  await listen(t, mail, example.port(2526));
  const gateway = await example.start(t);
  const port = example.port(8080);
  const client = { address: '203.0.113.9', port: 4711 };
  const front = { address: '198.51.100.1', port: 80 };
  const request = 'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n';
  const claim = `${request}x-forwarded-for: 192.0.2.66\r\n\r\n`;
  for (const version of ['v1', 'v2'] as const) {
    const header = encodeProxyHeader(version, client, front, []);
    const answer = await talk(port, Buffer.concat([header, Buffer.from(claim)]));
    const { headers } = JSON.parse(answer.slice(answer.indexOf('{')).replace(/\r\n0\r\n.*/s, ''));
    assert.equal(headers['x-forwarded-for'], '203.0.113.9');
    assert.match(headers.forwarded, /^for=203\.0\.113\.9;proto=http;host="a\.test"$/);
  }
  const trusted = encodeProxyHeader('v1', { address: '10.1.2.3', port: 1 }, front, []);
  const chain = await talk(port, Buffer.concat([trusted, Buffer.from(claim)]));
  assert.match(chain, /"x-forwarded-for":"192\.0\.2\.66, 10\.1\.2\.3"/);
  assert.equal(await talk(port, `${request}\r\n`), '');
  assert.equal(await talk(port, 'PROXY TCP4 300.1.1.1 1.1.1.1 1 2\r\n'), '');
  const { text } = await gateway.admin('/metrics');
  const counts = [...text.matchAll(/sluice_listener_refused_total\{listener="web".*\} (\d+)/g)];
  assert.equal(
    counts.reduce((sum, [, count]) => sum + Number(count), 0),
    2,
  );
  const seen = JSON.parse(await talk(example.port(2525), 'EHLO a\r\n'));
  assert.equal(seen.address, '127.0.0.1');
});

test('08-resilience: queue, limits, retries and ejection', { timeout: 60_000 }, async (t) => {
  const example = await Example.read('08-resilience');
  let held: http.ServerResponse[] = [];
  let failing = false;
  const backend = (name: string) =>
    http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      request.resume();
      if (request.url === '/hold') held.push(response);
      else if (request.url !== '/healthz' && failing && name === '9001') {
        response.writeHead(503).end();
      } else response.end(name);
    });
  for (const port of [9001, 9002, 9003]) {
    await listen(t, backend(`${port}`), example.port(port));
  }
  const smaller = (text: string) =>
    text
      .replace('maxConnections: 200', 'maxConnections: 3')
      .replace('size: 500, timeout: 5s', 'size: 2, timeout: 4s');
  const gateway = await example.start(t, smaller);
  const port = example.port(8080);
  const large = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${11 * 1024 * 1024}\r\n\r\n`;
  assert.match(await talk(port, large), /^HTTP\/1\.1 413 /);
  const head = `GET / HTTP/1.1\r\nhost: a\r\nx-a: ${'a'.repeat(17_000)}\r\n\r\n`;
  assert.match(await talk(port, head), /^HTTP\/1\.1 431 /);

  failing = true;
  const answers = await tally(30, async () => (await ask(port, 'a', '/')).status.toString());
  assert.deepEqual(answers, { 200: 30 });
  await eventually('the failing one is put aside', async () => {
    // However seldom it is picked, five of its answers are enough.
    assert.equal((await ask(port, 'a', '/')).status, 200);
    return (await gateway.metric('sluice_ejections_total{service="web"}')) === 1;
  });
  failing = false;

  const holding = Array.from({ length: 3 }, () => ask(port, 'a', '/hold'));
  await eventually('three are at work', () => held.length === 3);
  const waiting = [ask(port, 'a', '/'), ask(port, 'a', '/')];
  await eventually('two wait', async () => {
    return (await gateway.metric('sluice_service_queue_length{service="web"}')) === 2;
  });
  const turnedAway = await ask(port, 'a', '/');
  assert.equal(turnedAway.status, 503);
  assert.equal(turnedAway.headers['retry-after'], '1');
  for (const { status, headers } of await Promise.all(waiting)) {
    assert.deepEqual([status, headers['retry-after']], [503, '1']);
  }
  const next = ask(port, 'a', '/');
  await eventually('one waits', async () => {
    return (await gateway.metric('sluice_service_queue_length{service="web"}')) === 1;
  });
  for (const response of held) response.end('held');
  held = [];
  assert.equal((await next).status, 200);
  assert.equal((await Promise.all(holding)).length, 3);
});
