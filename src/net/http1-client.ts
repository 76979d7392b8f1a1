import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { systemCode } from '../base/errors.ts';
import { IDEMPOTENT } from '../wire/http-methods.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { readDirectly } from './direct-read.ts';
import { writeDirectly } from './direct-write.ts';
import type {
  ClientExchange,
  ExchangeFailure,
  HttpClientPool,
  OutgoingRequest,
  RequestOptions,
  ResponseSink,
} from './http-exchange.ts';
import { type CallConnection, Http1Call } from './http1-call.ts';

const EMPTY = Buffer.alloc(0);
/**
 * How long connections beyond those that are kept wait for the next burst of requests, each a little
 * longer than the one before. To close them at once would mean to open as many again in a moment.
 */
const SURPLUS_MS = 1000;
/**
 * Connections that are opened at a time. More at once overflow the backlog of many servers: what is dropped
 * there is sent again after a second, when whoever asked has given up.
 */
const MAX_DIALING = 128;
/** A connection whose next answer takes longer than this gets no further request behind it. */
const STALLED_MS = 50;

/** Opens one connection to the endpoint; plain or TLS is the caller's choice. */
export type Dial = (
  connectMs: number,
  done: (result: Socket | ExchangeFailure) => void,
) => { cancel(): void };

/** What bounds a pool. */
export type PoolOptions = {
  readonly maxIdle: number;
  readonly idleMs: number;
  /** Most requests under way on one connection. */
  readonly pipelining: number;
};

/** Whether a request may be sent before the one ahead of it is answered. Source: RFC 9112, 9.3.2. */
function mayFollow({ method, length, upgrade }: OutgoingRequest): boolean {
  return length === 0 && upgrade === undefined && IDEMPOTENT.has(method);
}

/** A call that waits for a connection: for one that is opened, or one that has done its work. */
type Waiting = { readonly call: Http1Call; readonly connectMs: number };

/** Kept connections to one endpoint: the one used last is used first. */
export class Http1Pool implements HttpClientPool {
  readonly #dial: Dial;
  readonly #options: PoolOptions;
  readonly #idle: ClientConnection[] = [];
  /** Connections that are at work and may get further requests. */
  readonly #shared: ClientConnection[] = [];
  readonly #waiting = new Set<Waiting>();
  #dialing = 0;
  /** Connections opened so far. */
  #opened = 0;
  #closed = false;

  constructor(dial: Dial, options: PoolOptions) {
    this.#dial = dial;
    this.#options = options;
  }

  get idle(): number {
    return this.#idle.length;
  }

  request(request: OutgoingRequest, sink: ResponseSink, options: RequestOptions): ClientExchange {
    const call = new Http1Call(request, sink);
    const { connectMs, fresh } = options;
    const kept = fresh ? undefined : this.#take(request);
    if (kept) kept.run(call, true);
    else if (fresh || this.#dialing < MAX_DIALING) this.#open({ call, connectMs });
    else {
      const waiting = { call, connectMs };
      this.#waiting.add(waiting);
      call.whileDialing({ cancel: () => this.#waiting.delete(waiting) });
    }
    return call;
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  #open({ call, connectMs }: Waiting): void {
    const opened = this.#opened;
    this.#dialing++;
    const dialing = this.#dial(connectMs, (result) => {
      this.#dialing--;
      if (typeof result === 'string') {
        call.failed(result, false, 0);
        // None has come through meanwhile: those that wait need not find out for themselves.
        if (this.#opened === opened) this.#failWaiting(result);
      } else {
        this.#opened++;
        new ClientConnection(result, this).run(call, false);
      }
      this.#openNext();
    });
    const cancel = () => {
      dialing.cancel();
      this.#dialing--;
      this.#openNext();
    };
    call.whileDialing({ cancel });
  }

  #openNext(): void {
    if (this.#dialing >= MAX_DIALING) return;
    const next = this.#nextWaiting();
    if (next) this.#open(next);
  }

  #nextWaiting(): Waiting | undefined {
    if (this.#waiting.size === 0) return undefined;
    const [next] = this.#waiting;
    if (next) this.#waiting.delete(next);
    return next;
  }

  #failWaiting(failure: ExchangeFailure): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const { call } of waiting) call.failed(failure, false, 0);
  }

  /** A kept connection: an idle one, or one at work that has room for a request of this kind. */
  #take(request: OutgoingRequest): ClientConnection | undefined {
    const { pipelining } = this.#options;
    if (pipelining === 1 || !mayFollow(request)) return this.#idle.pop();
    const now = performance.now();
    const room = this.#shared.find((connection) => connection.hasRoom(pipelining, now));
    if (room) return room;
    // One that has served before stays open between answers, as far as one can know.
    const idle = this.#idle.pop();
    if (idle) {
      idle.shared = true;
      this.#shared.push(idle);
    }
    return idle;
  }

  /** Takes a connection back after a clean exchange. */
  keep(connection: ClientConnection): void {
    this.#unshare(connection);
    const next = this.#nextWaiting();
    if (next) {
      connection.run(next.call, true);
      return;
    }
    if (this.#closed) {
      connection.destroy();
      return;
    }
    const { maxIdle, idleMs } = this.#options;
    const surplus = this.#idle.length - maxIdle;
    const keepMs = surplus < 0 ? idleMs : Math.min(idleMs, SURPLUS_MS + surplus / 4);
    connection.deadline = performance.now() + keepMs;
    this.#idle.push(connection);
  }

  /** Forgets a connection that has ended. */
  forget(connection: ClientConnection): void {
    this.#unshare(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  #unshare(connection: ClientConnection): void {
    if (!connection.shared) return;
    connection.shared = false;
    this.#shared.splice(this.#shared.indexOf(connection), 1);
  }
}

/** One connection to an endpoint: its calls are answered in the order in which they are sent. */
class ClientConnection implements CallConnection, Timed {
  readonly socket: Socket;
  place = -1;
  deadline = Number.POSITIVE_INFINITY;
  /** Whether further requests may follow those under way. */
  shared = false;
  readonly #pool: Http1Pool;
  /** The call whose answer comes next. */
  #call: Http1Call | undefined;
  readonly #behind: Http1Call[] = [];
  #waitsSince = 0;
  #unsent = '';
  #rest: Buffer = EMPTY;
  #reading = false;
  /** Whether the memory of what came last is needed on. */
  #kept = false;
  readonly #stopReading: () => void;

  constructor(socket: Socket, pool: Http1Pool) {
    this.socket = socket;
    this.#pool = pool;
    this.#stopReading = readDirectly(socket, this.#onData, () => !this.#kept);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    socket.on('drain', this.#onDrain);
    deadlines.add(this);
  }

  run(call: Http1Call, reused: boolean): void {
    if (this.#call) this.#behind.push(call);
    else {
      this.#call = call;
      this.#expectAnswer();
    }
    this.deadline = Number.POSITIVE_INFINITY;
    call.start(this, reused);
  }

  /** Whether one more request may be sent behind those under way, of which `most` may be. */
  hasRoom(most: number, now: number): boolean {
    return this.#behind.length + 1 < most && now - this.#waitsSince < STALLED_MS;
  }

  /** Heads of one turn of the loop that go the same way travel together. */
  sendHead(text: string): void {
    if (!this.shared) {
      writeDirectly(this.socket, text);
      return;
    }
    if (this.#unsent === '') setImmediate(this.#flush);
    this.#unsent += text;
  }

  release(clean: boolean, rest: Buffer): void {
    this.#call = clean ? this.#behind.shift() : undefined;
    if (this.#call) {
      this.#expectAnswer();
      this.#rest = rest;
      if (!this.#reading) this.#read();
    } else if (clean && rest.length === 0) this.#pool.keep(this);
    // What nobody has asked for spoils a connection.
    else this.destroy();
  }

  abandon(call: Http1Call): boolean {
    const last = this.#call === call && this.#behind.length === 0;
    if (!last && performance.now() - this.#waitsSince < STALLED_MS) return true;
    if (this.#call === call) this.#call = undefined;
    else this.#behind.splice(this.#behind.indexOf(call), 1);
    this.destroy();
    return false;
  }

  keeps(): void {
    this.#kept = true;
  }

  detach(): Socket {
    const { socket } = this;
    this.#stopReading();
    socket.off('end', this.#onEnd);
    socket.off('error', this.#onError);
    socket.off('close', this.#onClose);
    socket.off('drain', this.#onDrain);
    deadlines.delete(this);
    this.#call = undefined;
    socket.pause();
    return socket;
  }

  /** Ends it; calls behind the one that this is about are told that it was reset. */
  destroy(): void {
    this.#call = undefined;
    if (this.shared) this.#pool.forget(this);
    this.socket.destroy();
  }

  expire(): void {
    this.#pool.forget(this);
    this.destroy();
  }

  #expectAnswer(): void {
    if (this.shared) this.#waitsSince = performance.now();
  }

  /** Gives what has come to the calls that it answers. */
  #read(): void {
    this.#reading = true;
    while (this.#call && this.#rest.length > 0) {
      const data = this.#rest;
      this.#rest = EMPTY;
      this.#call.received(data);
    }
    this.#reading = false;
  }

  /** Nothing more comes: every call hears of it. */
  #ended(failure: ExchangeFailure): void {
    const call = this.#call;
    this.#call = undefined;
    call?.connectionEnded(failure);
    for (const behind of this.#behind.splice(0)) behind.connectionEnded('reset');
  }

  readonly #flush = () => {
    const text = this.#unsent;
    this.#unsent = '';
    writeDirectly(this.socket, text);
  };

  readonly #onData = (data: Buffer) => {
    if (!this.#call) {
      this.expire();
      return;
    }
    this.#rest = data;
    this.#kept = false;
    this.#read();
    this.#kept ||= this.#call?.unread === true;
  };

  readonly #onEnd = () => {
    const call = this.#call;
    if (call) call.finished();
    else this.expire();
  };

  readonly #onError = (error: Error) => {
    this.#ended(systemCode(error) === 'ECONNREFUSED' ? 'refused' : 'reset');
  };

  readonly #onClose = () => {
    deadlines.delete(this);
    this.#pool.forget(this);
    this.#ended('reset');
  };

  readonly #onDrain = () => this.#call?.drained();
}
