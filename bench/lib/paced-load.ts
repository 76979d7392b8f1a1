// Requests at a constant rate, whether or not earlier ones were answered:
// `paced-load.ts PORT CONNECTIONS SECONDS RATE` prints how many were answered, how many failed and the
// 99th percentile of the latencies. A latency counts from when its request was due, so what waits for a
// free connection waits. The first second is for this program's own compiler and is not in the percentile.
import net from 'node:net';

const [port = 0, connections = 1, seconds = 1, rate = 1] = process.argv.slice(2).map(Number);
const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'latin1');
const GAP_MS = 1000 / rate;
const TOTAL = Math.floor(seconds * rate);
const FIRST_COUNTED = Math.floor(Math.min(rate, TOTAL / 2));
/** So long the thread sleeps in each turn of its loop: the backend has the same CPU. */
const NAP_MS = 0.05;
/** How long answers are waited for when all is sent. */
const LATE_MS = 1000;
const nap = new Int32Array(new SharedArrayBuffer(4));

/** By request; NaN while it is not answered. */
const tookMs = new Float64Array(TOTAL).fill(Number.NaN);
const free: Client[] = [];
let next = 0;
let answered = 0;
let failed = 0;
let startedAt = 0;

function dueAt(request: number): number {
  return startedAt + request * GAP_MS;
}

/** A connection with at most one request under way. */
class Client {
  readonly #socket: net.Socket;
  #request = -1;

  constructor() {
    const buffer = Buffer.alloc(16_384);
    const onread = { buffer, callback: (length: number) => this.#received(buffer, length) };
    this.#socket = net.connect({ port, host: '127.0.0.1', noDelay: true, onread });
    this.#socket.on('connect', () => this.#offer());
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => failed++);
  }

  send(request: number): void {
    this.#request = request;
    this.#socket.write(REQUEST);
  }

  #offer(): void {
    free.push(this);
    if (startedAt > 0 || free.length < connections) return;
    startedAt = performance.now();
    turn();
  }

  #received(buffer: Buffer, length: number): boolean {
    // `HTTP/1.1 200`, and at the end of the last piece that of the body.
    if (buffer[0] === 0x48 && buffer[9] !== 0x32) failed++;
    if (buffer.toString('latin1', length - 2, length) !== 'd\n') return true;
    tookMs[this.#request] = performance.now() - dueAt(this.#request);
    answered++;
    this.#offer();
    return true;
  }
}

function finish(now: number): never {
  // What has no answer has waited until now.
  const counted = tookMs
    .map((took, request) => (took >= 0 ? took : now - dueAt(request)))
    .subarray(FIRST_COUNTED)
    .sort();
  const p99 = counted[Math.floor(counted.length * 0.99)] ?? 0;
  process.stdout.write(JSON.stringify({ answered, failed, p99Micros: p99 * 1000 }));
  process.exit(0);
}

function turn(): void {
  const now = performance.now();
  if (answered === TOTAL || now >= dueAt(TOTAL) + LATE_MS) finish(now);
  while (next < TOTAL && dueAt(next) <= now) {
    const client = free.pop();
    if (!client) break;
    client.send(next++);
  }
  Atomics.wait(nap, 0, 0, NAP_MS);
  setImmediate(turn);
}

for (let index = 0; index < connections; index++) new Client();
