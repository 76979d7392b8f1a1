import { isIP, type Server } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { errorText, SluiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import {
  type JoinGrant,
  type JoinOrder,
  type LogsHello,
  MAX_ADDRESSES,
  MAX_NODE_BYTES,
  MAX_STRANGER_BYTES,
  type ManagerMessage,
  type NodeMessage,
  type Refusal,
  type SessionHello,
  type TaskLine,
} from './cluster-protocol.ts';
import { encodeMessage, FRAME, FrameDecoder } from './frames.ts';

/** Nodes and those who want to become one, at the same time. */
const MAX_CONNECTIONS = 10_000;
/** Of those, peers without a certificate; each is served or gone within the time for a greeting. */
const MAX_STRANGERS = 64;
const GREETING_MS = 10_000;
/** Bytes that wait to be sent to one node at most; one that reads slower is let go. */
const MAX_QUEUED_BYTES = 128 * 1024 * 1024;

/** Certificate, key and trusted roots of a manager's control port, as PEM. */
export type ClusterTls = {
  /** The leaf first, then whatever leads to a root, then the root that tokens name. */
  readonly chain: string;
  readonly key: string;
  readonly roots: readonly string[];
};

/** A node's session as a manager holds it. */
export interface NodeSession {
  take(message: NodeMessage): void;
  ended(): void;
}

/** The way back to the node. */
export type SessionPeer = {
  readonly address: string;
  send(message: ManagerMessage): void;
  /** Ends the session; what was sent before still goes. */
  close(): void;
};

/** Who reads a connection that a node has opened to send its tasks' output. */
export interface LogsReader {
  line(line: TaskLine): void;
  ended(): void;
}

/** Who answers the peers of a control port. */
export interface ManagerPort {
  /** Throws to refuse, in words for the one who joins. */
  join(order: JoinOrder, address: string): Promise<JoinGrant>;
  /** `certificate` is signed by a trusted root. Throws to refuse. */
  session(certificate: Buffer, hello: SessionHello, peer: SessionPeer): NodeSession;
  /** The same for output of tasks; `close` ends the connection. */
  logs(certificate: Buffer, stream: string, close: () => void): LogsReader;
}

/** A refusal that names where to go instead, or that a node is to leave. */
export class RefusedError extends SluiceError {
  readonly leader: string | undefined;
  readonly removed: boolean;

  constructor(message: string, more: { leader?: string | undefined; removed?: boolean } = {}) {
    super('E_CLUSTER_REFUSED', message);
    this.leader = more.leader;
    this.removed = more.removed ?? false;
  }
}

/** The control port of a manager: TLS 1.3, both sides with certificates except to join. */
export class ClusterServer {
  readonly #port: ManagerPort;
  readonly #logger: Logger;
  readonly #connections = new Set<TLSSocket>();
  #server: Server | undefined;
  #setContext: (tls: ClusterTls) => void = () => {};
  #strangers = 0;
  /** Peers that sent what no node sends, or too much of it. */
  malformed = 0;
  /** Peers refused because there were too many. */
  crowded = 0;

  constructor(port: ManagerPort, logger: Logger) {
    this.#port = port;
    this.#logger = logger;
  }

  /** Throws when the address cannot be bound. */
  listen(host: string, port: number, tls: ClusterTls): Promise<void> {
    const server = createServer({
      ...contextOptions(tls),
      requestCert: true,
      // Who joins has none yet; a session without a trusted one is refused below.
      rejectUnauthorized: false,
      handshakeTimeout: GREETING_MS,
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.on('secureConnection', (socket) => this.#accept(socket));
    server.on('tlsClientError', (error) => {
      this.#logger.debug('a handshake at the control port failed', { reason: error.message });
    });
    this.#setContext = (next) => server.setSecureContext(contextOptions(next));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', (error) => {
        const message = `cannot listen on ${host}:${port} for nodes: ${error.message}`;
        reject(new SluiceError('E_BIND_FAILED', message, { cause: error }));
      });
      server.listen(port, host, resolve);
    });
  }

  /** New connections get this certificate; those that are there stay. */
  renew(tls: ClusterTls): void {
    this.#setContext(tls);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.#server) this.#server.close(() => resolve());
      else resolve();
    });
    for (const socket of this.#connections) socket.destroy();
    await closed;
  }

  #accept(socket: TLSSocket): void {
    const stranger = !socket.authorized;
    if (stranger && this.#strangers >= MAX_STRANGERS) {
      this.crowded++;
      socket.destroy();
      return;
    }
    if (stranger) this.#strangers++;
    this.#connections.add(socket);
    const greeting = setTimeout(() => socket.destroy(), GREETING_MS);
    const decoder = new FrameDecoder(MAX_STRANGER_BYTES);
    let onMessage = (message: unknown) => {
      clearTimeout(greeting);
      if (!stranger) decoder.maxBytes = MAX_NODE_BYTES;
      onMessage = this.#open(socket, message);
    };
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(greeting);
      this.#connections.delete(socket);
      if (stranger) this.#strangers--;
    });
    socket.on('data', (data: Buffer) => {
      try {
        const frames = decoder.push(data);
        if (frames === 'malformed') throw new Error('the frame is too large or of no kind');
        for (const { kind, body } of frames) {
          if (kind !== FRAME.json) throw new Error('only messages are sent here');
          onMessage(JSON.parse(body.toString()));
        }
      } catch (error) {
        this.malformed++;
        const fields = { address: socket.remoteAddress, reason: errorText(error) };
        this.#logger.debug('a peer of the control port makes no sense', fields);
        socket.destroy();
      }
    });
  }

  #open(socket: TLSSocket, message: unknown): (message: unknown) => void {
    const hello = checkHello(message);
    const ignore = () => {
      throw new Error('nothing more is awaited');
    };
    const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
    if (hello.open === 'join') {
      this.#port.join(hello, address).then(
        (grant) => send(socket, grant, true),
        (error: unknown) => send(socket, refusal(error), true),
      );
      return ignore;
    }
    if (!socket.authorized) {
      const text = `your certificate is not trusted: ${socket.authorizationError ?? 'there is none'}`;
      send(socket, refusal(new RefusedError(text)), true);
      return ignore;
    }
    const certificate = socket.getPeerCertificate().raw;
    const peer: SessionPeer = {
      address,
      send: (one) => send(socket, one, false),
      close: () => socket.end(),
    };
    try {
      if (hello.open === 'logs') {
        const reader = this.#port.logs(certificate, hello.stream, () => socket.destroy());
        socket.once('close', () => reader.ended());
        return (next) => reader.line(checkLine(next));
      }
      const session = this.#port.session(certificate, hello, peer);
      socket.once('close', () => session.ended());
      return (next) => session.take(checkMessage(next));
    } catch (error) {
      send(socket, refusal(error), true);
      return ignore;
    }
  }
}

function contextOptions({ chain, key, roots }: ClusterTls) {
  const minVersion = 'TLSv1.3' as const;
  return { cert: chain, key, ca: [...roots], minVersion };
}

function send(socket: TLSSocket, message: unknown, last: boolean): void {
  if (socket.destroyed) return;
  const frame = encodeMessage(message);
  if (last) socket.end(frame);
  else socket.write(frame);
  if (socket.writableLength > MAX_QUEUED_BYTES) socket.destroy();
}

function refusal(error: unknown): Refusal {
  const { leader, removed } = error instanceof RefusedError ? error : {};
  const code =
    error instanceof SluiceError &&
    (error.code === 'E_REQUEST_INVALID' || error.code === 'E_NODE_UNAVAILABLE')
      ? error.code
      : 'E_CLUSTER_REFUSED';
  return { refused: errorText(error), code, leader, ...(removed && { removed }) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MAX_STRANGER_BYTES;
}

function checkHello(value: unknown): JoinOrder | SessionHello | LogsHello {
  if (!isObject(value)) throw new Error('the greeting is no object');
  const { open, stream } = value;
  if (open === 'logs' && typeof stream === 'string') return { open, stream };
  const texts =
    value['open'] === 'join'
      ? ['token', 'request', 'hostname', 'availability']
      : ['address', 'dataPathAddress', 'assignment'];
  const bad = texts.find((name) => !isText(value[name]));
  if (bad !== undefined) throw new Error(`the greeting lacks ${bad}`);
  // exempt(as): what is used of it is checked here and by `checkDescription`
  if (value['open'] === 'join') return value as JoinOrder;
  if (value['open'] !== 'session' || !isDescription(value['description'])) {
    throw new Error('the greeting is unknown');
  }
  return value as SessionHello;
}

const DESCRIPTION = {
  hostname: 'string',
  os: 'string',
  arch: 'string',
  nanoCpus: 'number',
  memoryBytes: 'number',
  engineVersion: 'string',
  epoch: 'string',
} as const;

function areAddresses(value: unknown): boolean {
  return Array.isArray(value) && value.length <= MAX_ADDRESSES && value.every((one) => isIP(one));
}

function isDescription(value: unknown): boolean {
  if (!isObject(value)) return false;
  const fits = Object.entries(DESCRIPTION).every(([name, type]) => typeof value[name] === type);
  const { engineLabels, networkDrivers, addresses = [] } = value;
  return fits && isObject(engineLabels) && Array.isArray(networkDrivers) && areAddresses(addresses);
}

function checkLine(value: unknown): TaskLine {
  const { taskId, from, timeNs, data } = isObject(value) ? value : {};
  const fine =
    isText(taskId) &&
    (from === 'stdout' || from === 'stderr') &&
    typeof timeNs === 'string' &&
    /^\d{1,20}$/.test(timeNs) &&
    typeof data === 'string';
  if (!fine) throw new Error('the line is none');
  // exempt(as): every part was checked
  return value as TaskLine;
}

function checkMessage(value: unknown): NodeMessage {
  const fine =
    isObject(value) &&
    (typeof value['beat'] === 'number' ||
      Array.isArray(value['reports']) ||
      Array.isArray(value['attach']) ||
      (isText(value['find']) && typeof value['ask'] === 'number') ||
      (isText(value['applied']) && typeof value['shown'] === 'boolean') ||
      value['lost'] === true ||
      isText(value['renew']));
  if (!fine) throw new Error('the message is unknown');
  // exempt(as): its kind is known; the receiver checks what it uses of it
  return value as NodeMessage;
}
