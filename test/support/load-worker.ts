// The client side of `load.ts`, in a thread of its own so that a busy test does not slow it.
import net from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import type { LoadOptions, LoadResult, Outcome } from './load.ts';
import { bodyOf } from './sequence.ts';

// exempt(as): worker data has no type of its own.
const options = workerData as LoadOptions;
const { port, host = '127.0.0.1', connections, perSecond, method = 'GET' } = options;
const timeoutMs = options.timeoutMs ?? 8000;
const total = options.seconds === undefined ? Number.POSITIVE_INFINITY : options.seconds * 1000;
const result: LoadResult = { dueMs: [], tookMs: [], status: [], outcome: [], backend: [] };
const from = performance.now();
const idle: Client[] = [];
const waiting: { seq: number; due: number }[] = [];
let open = 0;
let nextSeq = 0;
let unanswered = 0;
let stopping = false;

function requestFor(seq: number): string {
  const path = options.path ?? '/';
  const close = options.keepAlive === false ? 'connection: close\r\n' : '';
  const head = `${method} ${path} HTTP/1.1\r\nhost: ${options.authority ?? 'load.test'}\r\nx-seq: ${seq}\r\n${close}`;
  if (method === 'GET') return `${head}\r\n`;
  const body = bodyOf(seq);
  return `${head}content-length: ${body.length}\r\n\r\n${body}`;
}

/** One connection with at most one request under way. */
class Client {
  readonly #socket: net.Socket;
  #seq = -1;
  #due = 0;
  #sentAt = 0;
  #got: Buffer = Buffer.alloc(0);
  #error: Outcome = 'closed';

  constructor() {
    open++;
    const { from: sources = [] } = options;
    const localAddress = sources[open % Math.max(1, sources.length)];
    this.#socket = net.connect({ port, host, ...(localAddress ? { localAddress } : {}) });
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (data: Buffer) => this.#received(data));
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#error = error.code === 'ECONNREFUSED' ? 'refused' : 'reset';
    });
    this.#socket.on('end', () => this.#socket.end());
    this.#socket.on('close', () => this.#closed());
  }

  get sentAt(): number {
    return this.#seq < 0 ? Number.POSITIVE_INFINITY : this.#sentAt;
  }

  send(seq: number, due: number): void {
    busy.add(this);
    this.#seq = seq;
    this.#due = due;
    this.#sentAt = performance.now();
    this.#socket.write(requestFor(seq), 'latin1');
  }

  end(): void {
    this.#socket.destroy();
  }

  expire(): void {
    this.#done('timeout', 0, '');
    this.#socket.destroy();
  }

  #received(data: Buffer): void {
    this.#got = this.#got.length === 0 ? data : Buffer.concat([this.#got, data]);
    const end = this.#got.indexOf('\r\n\r\n');
    if (end < 0 || this.#seq < 0) return;
    const head = this.#got.toString('latin1', 0, end).toLowerCase();
    const length = Number(/\r\ncontent-length: *(\d+)/.exec(head)?.[1] ?? 0);
    if (this.#got.length < end + 4 + length) return;
    const status = Number(head.slice(9, 12));
    const backend = /\r\nx-backend: *([^\r]*)/.exec(head)?.[1] ?? '';
    const body = this.#got.toString('latin1', end + 4, end + 4 + length);
    const whole = options.check === false || body === bodyOf(this.#seq);
    const extra = this.#got.length > end + 4 + length;
    this.#got = Buffer.alloc(0);
    const good = status >= 200 && status < 300;
    const outcome = !good ? 'status' : whole && !extra ? 'ok' : 'mismatch';
    if (/\r\nconnection: *close/.test(head)) this.#socket.end();
    this.#done(outcome, status, backend);
    if (!this.#socket.writableEnded) offer(this);
  }

  #done(outcome: Outcome, status: number, backend: string): void {
    if (this.#seq < 0) return;
    busy.delete(this);
    result.dueMs[this.#seq] = this.#due - from;
    result.tookMs[this.#seq] = performance.now() - this.#due;
    result.status[this.#seq] = status;
    result.outcome[this.#seq] = outcome;
    result.backend[this.#seq] = backend;
    this.#seq = -1;
    unanswered--;
  }

  #closed(): void {
    open--;
    const at = idle.indexOf(this);
    if (at >= 0) idle.splice(at, 1);
    this.#done(this.#error, 0, '');
    assign();
  }
}

const busy = new Set<Client>();

function offer(client: Client): void {
  idle.push(client);
  assign();
}

function assign(): void {
  if (perSecond === undefined) keepBusy();
  while (waiting.length > 0 && (idle.length > 0 || open < connections)) {
    const next = waiting.shift();
    if (next) (idle.pop() ?? new Client()).send(next.seq, next.due);
  }
}

function ask(due: number): void {
  unanswered++;
  waiting.push({ seq: nextSeq++, due });
}

/** Without a rate, each connection asks again as soon as it was answered. */
function keepBusy(): void {
  const now = performance.now();
  if (stopping || now - from >= total) return;
  while (unanswered < connections) ask(now);
}

function tick(): void {
  const now = performance.now();
  for (const client of busy) if (now - client.sentAt > timeoutMs) client.expire();
  const over = stopping || now - from >= total;
  if (over && unanswered === 0) {
    for (const client of idle) client.end();
    parentPort?.postMessage(result);
    return;
  }
  if (perSecond !== undefined && !stopping) {
    const due = Math.floor((Math.min(now - from, total) / 1000) * perSecond);
    while (nextSeq < due) ask(from + ((nextSeq + 1) * 1000) / perSecond);
  }
  assign();
  setTimeout(tick, 1);
}

parentPort?.once('message', () => {
  stopping = true;
});
tick();
