import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import type { Rng } from '../../src/base/rng.ts';
import { encodeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { REQUESTS, SCRAPS } from '../fuzz/corpus/http1.ts';
import { loopbackSources } from '../support/attack.ts';
import { Backend } from '../support/backend.ts';
import { figure, mib, ms } from '../support/figures.ts';
import { freePorts, Gateway } from '../support/gateway.ts';
import { startCanary } from '../support/load.ts';
import { mutate } from '../support/mutate.ts';
import { noProc, processTree, settled } from '../support/processes.ts';
import { seeded } from '../support/seed.ts';

const TOTAL = Number(process.env['FUZZ_INPUTS'] ?? 1_000_000);
const PARALLEL = 40;
const SOURCES = loopbackSources(20);

/** What one kind of input is made of, where it goes, and its share of all inputs. */
type Kind = { share: number; port: number; corpus: readonly string[]; scraps: readonly string[] };

const BINARY = ['\0', '\xff', '\x80', '\0\0', '\x01', '\x7f\xff\xff\xff', '\x16\x03\x01'];

/** What OpenSSL sends first. */
function clientHello(): Promise<string> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => {
      socket.once('data', (data) => {
        resolve(data.toString('latin1'));
        socket.destroy();
        server.close();
      });
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      const to = { port, host: '127.0.0.1', servername: 'a.test', ALPNProtocols: ['h2'] };
      tls.connect(to).on('error', () => {});
    });
  });
}

function frame(type: number, flags: number, stream: number, payload: string): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return head.toString('latin1') + payload;
}

// :method GET, :scheme http, :path /, :authority a.test without Huffman coding.
const FIELDS = '\x82\x86\x84\x41\x06a.test';
const PREFACE = `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(4, 0, 0, '')}`;
const HTTP2 = [
  `${PREFACE}${frame(1, 5, 1, FIELDS)}`,
  `${PREFACE}${frame(1, 4, 1, FIELDS.replace('\x82', '\x83'))}${frame(0, 1, 1, 'hello')}`,
  `${PREFACE}${frame(1, 1, 1, FIELDS.slice(0, 3))}${frame(9, 4, 1, FIELDS.slice(3))}`,
  `${PREFACE}${frame(4, 0, 0, '\0\x04\0\0\0\0')}${frame(1, 5, 1, FIELDS)}${frame(8, 0, 1, '\0\0\0\x01')}`,
  `${PREFACE}${frame(6, 0, 0, '12345678')}${frame(1, 5, 1, FIELDS)}${frame(3, 0, 1, '\0\0\0\x08')}`,
  `${PREFACE}${frame(1, 5, 1, FIELDS)}${frame(1, 5, 3, FIELDS)}${frame(7, 0, 0, '\0\0\0\0\0\0\0\0')}`,
];

/** Sends one input on a connection of its own and ends it, with a reset or without. */
function throwAt(port: number, input: string, rng: Rng): Promise<void> {
  return new Promise((resolve) => {
    const localAddress = SOURCES[rng.below(SOURCES.length)] ?? '127.0.0.1';
    const waitMs = rng.below(4) * 2;
    const reset = rng.below(2) === 0;
    const socket = net.connect({ port, host: '127.0.0.1', localAddress });
    const limit = setTimeout(() => socket.resetAndDestroy(), 2000);
    socket.on('error', () => {});
    socket.on('data', () => {});
    socket.on('close', () => {
      clearTimeout(limit);
      resolve();
    });
    socket.on('connect', () => {
      socket.write(input, 'latin1');
      if (reset) setTimeout(() => socket.resetAndDestroy(), waitMs);
      else socket.end();
    });
  });
}

async function throwAll(rng: Rng, kind: Kind): Promise<void> {
  let left = Math.round(TOTAL * kind.share);
  const one = async () => {
    while (left-- > 0) await throwAt(kind.port, mutate(rng, kind.corpus, kind.scraps), rng);
  };
  await Promise.all(Array.from({ length: PARALLEL }, one));
}

async function datagrams(rng: Rng, port: number, count: number): Promise<void> {
  const sockets = Array.from({ length: 100 }, () => dgram.createSocket('udp4'));
  for (let sent = 0; sent < count; sent++) {
    const text = mutate(rng, ['hello', '\0'.repeat(12), ''], BINARY);
    sockets[rng.below(100)]?.send(Buffer.from(text, 'latin1'), port, '127.0.0.1');
    if (sent % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  for (const socket of sockets) socket.close();
}

async function setUp(t: TestContext) {
  const [web = 0, hidden = 0, passed = 0, udp = 0, backendPort = 0] = await freePorts(5);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app, accessLog: false }
  hidden: { bind: "127.0.0.1:${hidden}", protocol: http, service: app, accessLog: false,
    acceptProxy: { from: [127.0.0.0/8] }, timeouts: { handshake: 1s } }
  passed: { bind: "127.0.0.1:${passed}", protocol: tls-passthrough, service: app,
    accessLog: false, timeouts: { handshake: 1s } }
  dgrams: { bind: "127.0.0.1:${udp}", protocol: udp, service: none, accessLog: false }
services:
  app: { passive: false, health: false, keepAlive: { idle: 5s },
    endpoints: ["127.0.0.1:${backendPort}"] }
  none: { passive: false, health: false, endpoints: ["127.0.0.1:9"] }
`,
    { workers: 2 },
  );
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  return { web, hidden, passed, udp, gateway };
}

test(`${TOTAL} mutated inputs leave a daemon as it was`, { skip: noProc }, async (t) => {
  const rng = seeded(t);
  const { web, hidden, passed, udp, gateway } = await setUp(t);
  const ends = [
    { address: '10.0.0.1', port: 1 },
    { address: '10.0.0.2', port: 2 },
  ] as const;
  const get = REQUESTS[0] ?? '';
  const proxies = (['v1', 'v2'] as const).map(
    (version) => encodeProxyHeader(version, ...ends, []).toString('latin1') + get,
  );
  const kinds: Kind[] = [
    { share: 0.4, port: web, corpus: REQUESTS, scraps: SCRAPS },
    { share: 0.3, port: web, corpus: HTTP2, scraps: BINARY },
    { share: 0.1, port: passed, corpus: [await clientHello()], scraps: BINARY },
    { share: 0.1, port: hidden, corpus: proxies, scraps: [...BINARY, '\r\n', ' ', '65536', '::'] },
  ];
  const tree = () => processTree(gateway.process.pid ?? 0);
  const pids = tree();
  const round = async () => {
    for (const kind of kinds) await throwAll(rng, { ...kind, share: kind.share / 2 });
    await datagrams(rng, udp, Math.round(TOTAL * 0.05));
    // Quiet lets deadlines pass and memory settle.
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    return settled(pids);
  };
  const first = await settled(pids);
  const canary = await startCanary(t, { port: web });
  const began = performance.now();
  // What a daemon takes once under load is no leak: what counts is what the second half adds.
  const before = await round();
  const after = await round();
  const tookMs = performance.now() - began;
  canary.stop();
  const felt = await canary.done;
  const growth = after.rssBytes - before.rssBytes;
  const fds = after.fds - before.fds;
  figure(t, {
    experiment: '29',
    what: `${TOTAL} mutated inputs at a live daemon (HTTP/1, HTTP/2, TLS, PROXY, UDP)`,
    measured: `${(tookMs / 1000).toFixed(0)} s; same processes: ${String(tree()) === String(pids)}; canary failed: ${felt.summary()} of ${felt.sent}, p99 ${ms(felt.percentile(99))}; RSS ${mib(first.rssBytes)} → ${mib(before.rssBytes)} → ${mib(after.rssBytes)} (start, half, end), descriptors ${fds}`,
    wanted: '0 crashes, canary 100 %, RSS ≤ +20 MiB in the second half, descriptors ≤ +5',
  });
  assert.deepEqual(tree(), pids, 'no process ended');
  assert.doesNotMatch(gateway.output, /uncaught|unhandled|TypeError|RangeError/i);
  assert.deepEqual(felt.failures(), []);
  assert.ok(fds <= 5, `${fds} descriptors`);
  assert.ok(growth <= 20 * 1_048_576, mib(growth));
});
