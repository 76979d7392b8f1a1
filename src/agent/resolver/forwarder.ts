import { randomInt } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import type { Native } from '../../kernel/native.ts';

const DNS_PORT = 53;
/** How long one server is waited for. */
export const SERVER_TIMEOUT_MS = 2000;
/** Servers that are asked for one query. */
export const MAX_SERVERS = 3;
/** Queries of one sandbox that wait for an answer; further ones fail at once. */
export const MAX_IN_FLIGHT = 1024;
/** Where every resolver of ours answers: to ask it would go in circles. */
const OWN_ADDRESS = '127.0.0.11';
const RCODE_MASK = 0x0f;
/** Answers after which the next server is asked: it failed, or refuses to serve. */
const TRY_NEXT = [2, 5];

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}

/** The question's bytes: an answer has to repeat them, in whatever case. */
function sameQuestion(query: Buffer, answer: Buffer): boolean {
  const HEAD = 12;
  let end = HEAD;
  while (end < query.length && query[end] !== 0) end += (query[end] ?? 0) + 1;
  end += 5;
  if (answer.length < end || end > query.length) return false;
  const text = (bytes: Buffer) => bytes.subarray(HEAD, end).toString('latin1').toLowerCase();
  return text(query) === text(answer);
}

/** Passes a sandbox's queries on to its servers, from within its network. */
export class Forwarder {
  readonly #native: Native | undefined;
  readonly #netnsFile: string;
  readonly #clock: Clock;
  #inFlight = 0;
  /** Queries that found `MAX_IN_FLIGHT` others waiting. */
  refused = 0;

  constructor(native: Native | undefined, netnsFile: string, clock: Clock) {
    this.#native = native;
    this.#netnsFile = netnsFile;
    this.#clock = clock;
  }

  /** The answer with the query's own id; undefined when no server gave one. */
  async ask(query: Buffer, servers: readonly string[], udp: boolean): Promise<Buffer | undefined> {
    if (this.#inFlight >= MAX_IN_FLIGHT) {
      this.refused += 1;
      return undefined;
    }
    this.#inFlight += 1;
    try {
      let last: Buffer | undefined;
      for (const server of servers.filter((one) => one !== OWN_ADDRESS).slice(0, MAX_SERVERS)) {
        const answer = await this.#askOne(query, server, udp);
        if (!answer) continue;
        last = answer;
        if (!TRY_NEXT.includes((answer[3] ?? 0) & RCODE_MASK)) break;
      }
      return last;
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #askOne(query: Buffer, server: string, udp: boolean): Promise<Buffer | undefined> {
    const sent = Buffer.from(query);
    // An id and a port of our own: the client's would let others answer in the server's place.
    sent.writeUInt16BE(randomInt(0x10000), 0);
    const accepts = (answer: Buffer) =>
      answer.length >= 12 &&
      answer.readUInt16BE(0) === sent.readUInt16BE(0) &&
      ((answer[2] ?? 0) & 0x80) !== 0 &&
      sameQuestion(sent, answer);
    try {
      const answer = await (udp
        ? this.#byUdp(sent, server, accepts)
        : this.#byTcp(sent, server, accepts));
      answer?.writeUInt16BE(query.readUInt16BE(0), 0);
      return answer;
    } catch {
      return undefined;
    }
  }

  /** Servers on the loopback are the host's own; a sandbox cannot reach them. */
  #inSandbox<T>(server: string, inside: (native: Native) => T, outside: () => T): T {
    const native = this.#native;
    if (!native || isLoopback(server)) return outside();
    return native.inNamespace(this.#netnsFile, () => inside(native));
  }

  #byUdp(
    query: Buffer,
    server: string,
    accepts: (answer: Buffer) => boolean,
  ): Promise<Buffer | undefined> {
    const v6 = server.includes(':');
    const fd = this.#inSandbox(
      server,
      (native) => native.socket('udp', v6 ? '::' : '0.0.0.0', 0).fd,
      () => undefined,
    );
    const socket: UdpSocket = createSocket(v6 ? 'udp6' : 'udp4');
    return new Promise((resolve) => {
      const finish = (answer: Buffer | undefined) => {
        timer.cancel();
        socket.close();
        resolve(answer);
      };
      const timer = this.#clock.after(SERVER_TIMEOUT_MS, () => finish(undefined));
      socket.on('error', () => {
        socket.removeAllListeners('error').on('error', () => {});
        finish(undefined);
      });
      socket.on('message', (answer, from) => {
        if (from.port === DNS_PORT && accepts(answer)) finish(answer);
      });
      const send = () =>
        socket.send(query, DNS_PORT, server, (error) => {
          if (error) socket.emit('error', error);
        });
      if (fd === undefined) send();
      else {
        socket.once('listening', send);
        socket.bind({ fd });
      }
    });
  }

  #byTcp(
    query: Buffer,
    server: string,
    accepts: (answer: Buffer) => boolean,
  ): Promise<Buffer | undefined> {
    const v6 = server.includes(':');
    const socket = this.#inSandbox(
      server,
      (native) => {
        const { fd } = native.socket('tcp', v6 ? '::' : '0.0.0.0', 0);
        return new Socket({ fd });
      },
      () => undefined,
    );
    const target = { host: server, port: DNS_PORT };
    const connection = socket ? socket.connect(target) : connect(target);
    return new Promise((resolve) => {
      let got = Buffer.alloc(0);
      const finish = (answer: Buffer | undefined) => {
        timer.cancel();
        connection.destroy();
        resolve(answer);
      };
      const timer = this.#clock.after(SERVER_TIMEOUT_MS, () => finish(undefined));
      connection.on('error', () => finish(undefined));
      connection.on('close', () => finish(undefined));
      connection.on('data', (data: Buffer) => {
        got = Buffer.concat([got, data]);
        if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
        const answer = got.subarray(2, 2 + got.readUInt16BE(0));
        finish(accepts(answer) ? answer : undefined);
      });
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      connection.write(Buffer.concat([length, query]));
    });
  }
}
