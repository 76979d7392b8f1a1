import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { EchoClients, echoServer } from '../support/echo-clients.ts';
import { eventually, freePorts, Gateway, type StartOptions } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';
import { usage } from '../support/processes.ts';

const SHED = 'sluice_overload_shed_total';

async function start(t: TestContext, options: StartOptions = {}) {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${backendPort}"] }
`,
    options,
  );
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  return { port, gateway };
}

/** One kept connection that asks again and again; counts what does not come back as 200. */
class Kept {
  readonly #socket: net.Socket;
  readonly #timer: NodeJS.Timeout;
  answers = 0;
  errors = 0;

  constructor(port: number) {
    this.#socket = net.connect(port, '127.0.0.1');
    this.#socket.on('data', (data) => {
      for (const [, status] of data.toString('latin1').matchAll(/HTTP\/1\.1 (\d+)/g)) {
        if (status === '200') this.answers++;
        else this.errors++;
      }
    });
    this.#socket.on('error', () => this.errors++);
    this.#socket.on('end', () => this.errors++);
    this.#timer = setInterval(() => this.#socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'), 100);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#socket.removeAllListeners('end');
    this.#socket.destroy();
  }
}

/** Opens `count` connections that send a request; how they were answered. */
async function flood(port: number, count: number) {
  const seen = { served: 0, refused: 0 };
  const sockets = Array.from({ length: count }, () => {
    const socket = net.connect(port, '127.0.0.1', () =>
      socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'),
    );
    socket.on('error', () => {});
    socket.on('data', (data) => {
      const text = data.toString('latin1');
      if (text.startsWith('HTTP/1.1 200')) seen.served++;
      else if (/^HTTP\/1\.1 503 .*retry-after: 3/s.test(text)) seen.refused++;
    });
    return socket;
  });
  await eventually('all are answered', () => seen.served > 50 && seen.refused > 500);
  const close = () => {
    for (const socket of sockets) socket.destroy();
  };
  return { seen, close };
}

/** Asks on one connection, again as soon as there is an answer; the statuses. */
async function askAgain(port: number, times: number): Promise<string[]> {
  const statuses: string[] = [];
  const socket = net.connect(port, '127.0.0.1');
  const ask = () => socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  socket.on('data', (data) => {
    const status = /^HTTP\/1\.1 (\d+)/.exec(data.toString('latin1'))?.[1];
    if (status === undefined) return;
    statuses.push(status);
    ask();
  });
  ask();
  await eventually('it is answered', () => statuses.length >= times);
  socket.destroy();
  return statuses.slice(0, times);
}

test('out of descriptors: the excess is refused with 503, existing connections are not touched', async (t) => {
  const { port, gateway } = await start(t, {
    prefix: ['sh', '-c', 'ulimit -n 256; exec "$0" "$@"'],
  });
  const kept = Array.from({ length: 10 }, () => new Kept(port));
  t.after(() => {
    for (const one of kept) one.close();
  });
  await eventually('they are served', () => kept.every(({ answers }) => answers > 0));
  const workers = await gateway.workers();
  const before = usage(workers).cpuMs;
  const { seen, close } = await flood(port, 1000);
  const meanwhile = kept.map(({ answers }) => answers);
  await eventually('existing ones are served on', () =>
    kept.every(({ answers }, at) => answers >= (meanwhile[at] ?? 0) + 10),
  );
  t.diagnostic(`${JSON.stringify(seen)}, ${usage(workers).cpuMs - before} ms of CPU`);
  assert.ok(((await gateway.metric(`${SHED}{reason="descriptors"}`)) ?? 0) >= seen.refused);
  close();
  await eventually('new ones are served', async () => {
    return failures(await pacedLoad(port, { perSecond: 50, seconds: 0.1 })).length === 0;
  });
  assert.deepEqual(
    kept.map(({ errors }) => errors),
    kept.map(() => 0),
  );
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 0);
});

test('without memory left new requests get 503, and what is open goes on', async (t) => {
  const echo = await echoServer();
  const [port = 0] = await freePorts(1);
  const config = `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: echo }
services:
  echo: { endpoints: ["127.0.0.1:${echo.port}"] }
`;
  const gateway = await Gateway.start(config);
  const clients = new EchoClients();
  t.after(async () => {
    await clients.close();
    await gateway.stop();
    echo.close();
  });
  await clients.open(port, 5, 20);
  // Less than a daemon takes when it does nothing.
  gateway.write(`${config}memory: 80MiB\n`);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  await eventually('new requests are refused', async () => {
    const { status, headers } = await fetch(`http://127.0.0.1:${port}/`);
    return status === 503 && headers.get('retry-after') === '3';
  });
  assert.ok(((await gateway.metric(`${SHED}{reason="memory"}`)) ?? 0) > 0);
  const before = performance.now();
  assert.deepEqual(await askAgain(port, 2), ['503', '503']);
  const tookMs = performance.now() - before;
  assert.ok(tookMs >= 3000, `two refusals on one connection within ${tookMs} ms`);
  assert.match((await gateway.admin('/healthz')).text, /"overloaded","reasons":\["memory"\]/);
  const received = clients.received;
  await eventually('messages still pass', () => clients.received > received + 50);
  const hushed = askAgain(port, 3);
  gateway.write(config);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  // One that was refused and has asked at once again is heard when it is over.
  assert.equal((await hushed).at(-1), '200');
  await eventually('they are served again', async () => {
    return (await fetch(`http://127.0.0.1:${port}/`)).status !== 503;
  });
  assert.deepEqual([clients.closed, clients.wrong], [0, 0]);
});
