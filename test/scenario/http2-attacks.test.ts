import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import {
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  get,
  RawHttp2,
  request,
  settings,
  TYPE,
  u32,
} from '../support/http2-raw.ts';

const SETTINGS_TIMEOUT = 4;
const ENHANCE_YOUR_CALM = 11;
const FRAMES = 20_000;
const BIG_BYTES = 1_000_000;

let port = 0;
let gateway: Gateway | undefined;
let backend: http.Server | undefined;
let begun = 0;
let cancelled = 0;

before(async () => {
  backend = http.createServer((asked, response) => {
    if (asked.url === '/canary') {
      response.end('tweet');
      return;
    }
    begun++;
    response.on('close', () => {
      if (!response.writableFinished) cancelled++;
    });
    if (asked.url === '/big') response.end(Buffer.alloc(BIG_BYTES));
    else if (asked.url !== '/never') response.end('hello');
    asked.resume();
  });
  await new Promise<void>((resolve) => backend?.listen(0, '127.0.0.1', resolve));
  [port = 0] = await freePorts(1);
  const to = (backend.address() as net.AddressInfo).port;
  gateway = await Gateway.start(`log: { access: { format: json } }
listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    service: app
    timeouts: { header: 1s, write: 2s, idle: 3s }
services: { app: { endpoints: ["127.0.0.1:${to}"], health: false } }
`);
});

after(async () => {
  await gateway?.stop();
  backend?.closeAllConnections();
  backend?.close();
});

const bad = async (reason: string) =>
  (await gateway?.metric(
    `sluice_listener_bad_requests_total{listener="web",reason="${reason}"}`,
  )) ?? 0;

/** Asks over HTTP/1 again and again beside `attack`; how many were asked, and how many failed. */
async function besideCanary(attack: () => Promise<void>): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let over = false;
  let asked = 0;
  let failed = 0;
  const canary = (async () => {
    while (!over || asked < 5) {
      asked++;
      const status = await new Promise<number>((resolve) => {
        http
          .get({ agent, host: '127.0.0.1', port, path: '/canary', timeout: 2000 }, (answer) => {
            answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
          })
          .on('timeout', () => resolve(0))
          .on('error', () => resolve(0));
      });
      if (status !== 200) failed++;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  try {
    await attack();
  } finally {
    over = true;
    await canary;
    agent.destroy();
  }
  assert.equal(failed, 0, `${failed} of ${asked} canary requests failed`);
}

/** Sends pieces until the other side hangs up; how many went out. */
async function flood(raw: RawHttp2, piece: (turn: number) => Buffer): Promise<number> {
  let sent = 0;
  for (; sent < FRAMES && !raw.closed; sent++) {
    raw.send(piece(sent));
    // Let the other side act on what it has.
    if (sent % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
  }
  return sent;
}

async function endsWithCalm(raw: RawHttp2, reason: string): Promise<void> {
  await raw.until('GOAWAY', () => raw.closed, 10_000);
  assert.equal(raw.goawayCode(), ENHANCE_YOUR_CALM);
  await eventually(`${reason} is counted`, async () => (await bad(reason)) >= 1);
}

test('rapid reset: at most about 100 requests reach the endpoint', async () => {
  begun = 0;
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port);
    await flood(raw, (turn) =>
      Buffer.concat([get(1 + 2 * turn, '/never'), frame(TYPE.RST_STREAM, 0, 1 + 2 * turn, u32(8))]),
    );
    await endsWithCalm(raw, 'rapid-reset');
  });
  assert.ok(begun <= 110, `${begun}`);
});

test('rapid reset, each request looked at before: the same', async () => {
  begun = 0;
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port);
    for (let turn = 0; turn < 400 && !raw.closed; turn++) {
      // Ten at a time are more than is forgiven, also where a turn takes long.
      const ids = Array.from({ length: 10 }, (_, index) => 1 + 2 * (10 * turn + index));
      raw.send(Buffer.concat(ids.map((id) => get(id, '/never'))));
      await new Promise((resolve) => setTimeout(resolve, 1));
      raw.send(Buffer.concat(ids.map((id) => frame(TYPE.RST_STREAM, 0, id, u32(8)))));
    }
    await endsWithCalm(raw, 'rapid-reset');
  });
  assert.ok(begun <= 150, `${begun}`);
  await eventually('the endpoint is let go', () => cancelled >= begun - 1);
});

test('resets that the server is made to send count the same', async () => {
  begun = 0;
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port);
    await flood(raw, (turn) =>
      Buffer.concat([
        get(1 + 2 * turn, '/never'),
        frame(TYPE.WINDOW_UPDATE, 0, 1 + 2 * turn, u32(0)),
      ]),
    );
    await endsWithCalm(raw, 'stream-errors');
  });
  assert.ok(begun <= 110, `${begun}`);
});

test('CONTINUATION flood: 8 frames or 64 KiB', async () => {
  for (const part of [Buffer.alloc(0), Buffer.alloc(16_000)]) {
    await besideCanary(async () => {
      const raw = await RawHttp2.open(port);
      raw.send(frame(TYPE.HEADERS, END_STREAM, 1, block(...request())));
      await flood(raw, () => frame(TYPE.CONTINUATION, 0, 1, part));
      await endsWithCalm(raw, 'continuation-flood');
      await eventually('a line of the access log', () =>
        (gateway?.output ?? '').includes('"outcome":"continuation-flood"'),
      );
    });
  }
});

test('a field block that grows when decoded is answered 431, and ends when it goes on', async () => {
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port);
    const entry = Buffer.concat([
      Buffer.from([0x40, 1, 0x61, 127, 0x81, 0x1d]),
      Buffer.alloc(3840, 'x'),
    ]);
    const bomb = (id: number, first: boolean) =>
      frame(
        TYPE.HEADERS,
        END_STREAM | END_HEADERS,
        id,
        Buffer.concat([
          block(...request()),
          first ? entry : Buffer.alloc(0),
          Buffer.alloc(8000, 0xbe),
        ]),
      );
    raw.send(bomb(1, true));
    await raw.until('431', () => raw.status(1) !== undefined || raw.closed);
    assert.equal(raw.status(1), '431');
    raw.send(get(3));
    await raw.until('the next', () => raw.status(3) !== undefined);
    assert.equal(raw.status(3), '200');
    await flood(raw, (turn) => bomb(5 + 2 * turn, false));
    await endsWithCalm(raw, 'header-too-large');
  });
});

const CONTROL: [string, string, () => Buffer][] = [
  ['SETTINGS', 'settings-flood', () => settings()],
  ['PING', 'ping-flood', () => frame(TYPE.PING, 0, 0, '12345678')],
  ['PRIORITY', 'priority-flood', () => frame(TYPE.PRIORITY, 0, 1, Buffer.alloc(5))],
  ['unknown frames', 'unknown-frames', () => frame(0xee, 0, 0)],
  ['WINDOW_UPDATE', 'window-updates', () => frame(TYPE.WINDOW_UPDATE, 0, 0, u32(1))],
];

for (const [name, reason, piece] of CONTROL) {
  test(`${name} × ${FRAMES} ends with ENHANCE_YOUR_CALM`, async () => {
    await besideCanary(async () => {
      const raw = await RawHttp2.open(port);
      await flood(raw, piece);
      await endsWithCalm(raw, reason);
    });
  });
}

test('empty DATA × 20 000 ends with ENHANCE_YOUR_CALM', async () => {
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port);
    raw.send(frame(TYPE.HEADERS, END_HEADERS, 1, block(...request('POST', '/never'))));
    await flood(raw, () => frame(TYPE.DATA, 0, 1));
    await endsWithCalm(raw, 'empty-data');
  });
});

test('a client that asks for 100 large answers and takes none is given up', async () => {
  const stalled = await bad('write-timeout');
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port, settings([4, 0]));
    for (let turn = 0; turn < 100; turn++) raw.send(get(1 + 2 * turn, '/big'));
    await raw.until('all are reset', () => raw.count(TYPE.RST_STREAM) === 100, 15_000);
    assert.ok(await raw.isAlive());
    await eventually('they are counted', async () => (await bad('stalled-buffer')) > 0);
    await eventually('the others too', async () => (await bad('write-timeout')) > stalled);
    raw.close();
  });
});

test('a stream that is not taken is given up, however busy its connection is', async () => {
  const raw = await RawHttp2.open(port, settings([4, 0]));
  raw.send(get(1, '/big'));
  for (let turn = 0; turn < 100 && raw.resetCode(1) === undefined; turn++) {
    assert.ok(await raw.isAlive());
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(raw.resetCode(1), 8);
  raw.close();
});

test('a client that never reads its answers stops being read itself', async () => {
  const before = await bad('write-timeout');
  await besideCanary(async () => {
    const raw = await RawHttp2.open(port, settings([4, 0x7fffffff]));
    raw.send(frame(TYPE.WINDOW_UPDATE, 0, 0, u32(0x7fff0000)));
    raw.socket.pause();
    for (let turn = 0; turn < 300 && !raw.closed; turn++) {
      raw.send(get(1 + 2 * turn, '/big'));
      if (turn % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await eventually('it is cut', async () => (await bad('write-timeout')) > before);
    raw.close();
  });
});

test('a preface, a head or a connection that stands still ends', async () => {
  const opened = performance.now();
  const silent = await RawHttp2.open(port, Buffer.alloc(0));
  silent.polite = false;
  const headless = await RawHttp2.open(port);
  headless.polite = false;
  headless.send(frame(TYPE.HEADERS, END_STREAM, 1, block(...request())));
  const idle = await RawHttp2.open(port);
  await silent.until('the silent one ends', () => silent.closed, 5000);
  await headless.until('the one without the end of its head ends', () => headless.closed, 5000);
  assert.ok(performance.now() - opened >= 900);
  await eventually('it is counted', async () => (await bad('header-timeout')) >= 2);
  await idle.until('the idle one ends', () => idle.closed, 8000);
  assert.equal(idle.goawayCode(), 0);
});

test('a client that never takes up the settings is told SETTINGS_TIMEOUT', async () => {
  const before = await bad('settings-timeout');
  const rude = await RawHttp2.open(port);
  rude.polite = false;
  // So that the connection is not idle.
  rude.send(get(1, '/never'));
  await rude.until('it ends', () => rude.closed, 20_000);
  assert.equal(rude.goawayCode(), SETTINGS_TIMEOUT);
  await eventually('it is counted', async () => (await bad('settings-timeout')) === before + 1);
});
