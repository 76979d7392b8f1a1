import type { RemoteInfo, Socket as UdpSocket } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import type { Rng } from '../../base/rng.ts';
import { localAnswer, type NameView, parseQuery, type Query, respond } from './answer.ts';
import type { Forwarder } from './forwarder.ts';
import { servicePort } from './service-ports.ts';

/** TCP clients of one sandbox at the same time, and how long one may be silent. */
const MAX_TCP_CLIENTS = 64;
const TCP_IDLE_MS = 10_000;
/** Queries of one TCP client that wait for an answer. */
const MAX_TCP_WAITING = 64;
/** How long one may be silent that is the last of its resolver's. */
const LAST_IDLE_MS = 1000;

const NOTHING = { answers: [], additionals: [] };

/** How a sandbox's names are resolved at the moment. */
export type ResolverView = {
  readonly names: NameView;
  /** None: nobody outside is asked. */
  readonly servers: readonly string[];
  readonly ndots: number | undefined;
};

/** Figures since the start. */
export type ResolverCounts = {
  local: number;
  forwarded: number;
  failed: number;
  malformed: number;
};

/** Sends an answer to the UDP client that asked. */
export type Reply = (answer: Buffer, to: RemoteInfo) => void;

/** The resolver of one sandbox; the sockets tell whose queries they are. */
export class SandboxResolver {
  readonly #view: () => ResolverView;
  readonly #forwarder: Forwarder;
  readonly #rng: Rng;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #clients = new Set<Socket>();
  #reply: Reply = (answer, to) => this.#udp.send(answer, to.port, to.address, () => {});
  /** UDP queries that wait for their answer, and who is told when none does. */
  #waiting = 0;
  #answered: () => void = () => {};
  readonly counts: ResolverCounts = { local: 0, forwarded: 0, failed: 0, malformed: 0 };

  /** Owns the sockets. */
  constructor(
    sockets: { udp: UdpSocket; tcp: Server },
    view: () => ResolverView,
    forwarder: Forwarder,
    rng: Rng,
  ) {
    this.#view = view;
    this.#forwarder = forwarder;
    this.#rng = rng;
    this.#udp = sockets.udp;
    this.#tcp = sockets.tcp;
    this.#udp.on('error', () => {});
    this.#udp.on('message', async (bytes, from) => {
      this.#waiting += 1;
      const answer = await this.answer(bytes, true);
      if (answer) this.#reply(answer, from);
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#answered();
    });
    this.#tcp.maxConnections = MAX_TCP_CLIENTS;
    this.#tcp.on('error', () => {});
    this.#tcp.on('connection', (client) => this.#serve(client));
  }

  #serve(client: Socket): void {
    let got = Buffer.alloc(0);
    let waiting = 0;
    this.#clients.add(client);
    client.setTimeout(TCP_IDLE_MS, () => {
      if (waiting === 0) client.destroy();
    });
    client.on('error', () => client.destroy());
    client.on('close', () => this.#clients.delete(client));
    client.on('data', async (data: Buffer) => {
      got = Buffer.concat([got, data]);
      while (got.length >= 2 && got.length >= 2 + got.readUInt16BE(0)) {
        const end = 2 + got.readUInt16BE(0);
        const query = got.subarray(2, end);
        got = got.subarray(end);
        if (waiting >= MAX_TCP_WAITING) {
          client.destroy();
          return;
        }
        waiting += 1;
        this.answer(query, false).then((answer) => {
          waiting -= 1;
          if (!answer || client.destroyed) return;
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer.length);
          client.write(Buffer.concat([length, answer]));
        });
      }
    });
  }

  /** The answer to a message; undefined for what is no query. */
  async answer(bytes: Buffer, udp: boolean): Promise<Buffer | undefined> {
    const query = parseQuery(bytes);
    if (!query) {
      this.counts.malformed += 1;
      return undefined;
    }
    const view = this.#view();
    const local = localAnswer(query, view.names, this.#rng, servicePort);
    if (local) {
      this.counts.local += 1;
      return respond(query, { ...local, rcode: 'fine', own: true }, udp);
    }
    // A bare name that is to be completed by a search domain is nothing for the outside.
    if (view.ndots !== undefined && view.ndots > 0 && isBareName(query)) {
      return respond(query, { ...NOTHING, rcode: 'missing', own: false }, udp);
    }
    const answer = await this.#forwarder.ask(bytes, view.servers, udp);
    if (answer) {
      this.counts.forwarded += 1;
      return answer;
    }
    this.counts.failed += 1;
    return respond(query, { ...NOTHING, rcode: 'failed', own: false }, udp);
  }

  /**
   * Takes no further clients, and resolves when those that came have their answers. `reply` sends
   * those by UDP: without it the socket is kept, and what still comes there is answered.
   */
  async drain(reply?: Reply): Promise<void> {
    const left = new Promise((resolve) => this.#tcp.close(resolve));
    for (const client of this.#clients) client.setTimeout(LAST_IDLE_MS);
    if (reply) {
      this.#udp.close();
      this.#reply = reply;
    }
    const answered = new Promise<void>((resolve) => {
      this.#answered = resolve;
      if (this.#waiting === 0) resolve();
    });
    await Promise.all([left, answered]);
  }

  close(): void {
    this.#reply = () => {};
    this.#udp.close();
    this.#tcp.close();
    for (const client of this.#clients) client.destroy();
  }
}

function isBareName(query: Query): boolean {
  return (query.type === 'A' || query.type === 'AAAA') && !query.name.includes('.');
}
