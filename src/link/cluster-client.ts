import type { X509Certificate } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import { errorText, SluiceError } from '../base/errors.ts';
import { splitHostPort } from '../model/address.ts';
import type {
  JoinGrant,
  JoinOrder,
  LogsHello,
  ManagerMessage,
  NodeMessage,
  Refusal,
  SessionHello,
  TaskLine,
} from './cluster-protocol.ts';
import { encodeMessage, FRAME, FrameDecoder } from './frames.ts';

const CONNECT_MS = 5000;
const JOIN_MS = 20_000;
/** Bytes that wait to be sent to a manager at most. */
const MAX_QUEUED_BYTES = 32 * 1024 * 1024;

/** What a node shows and whom it trusts, as PEM. */
export type NodeTls = {
  readonly certificate: string;
  readonly key: string;
  readonly roots: readonly string[];
  readonly clusterId: string;
};

function unreachable(address: string, why: string): SluiceError {
  return new SluiceError('E_CLUSTER_UNREACHABLE', `the manager at ${address}: ${why}`);
}

/** A manager's refusal as an error. */
export class RefusalError extends SluiceError {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.code, refusal.refused);
    this.refusal = refusal;
  }
}

function isRefusal(message: unknown): message is Refusal {
  return typeof message === 'object' && message !== null && 'refused' in message;
}

function opened(address: string, options: object): Promise<TLSSocket> {
  const parts = splitHostPort(address);
  const [host, port] = [parts?.host ?? address, Number(parts?.port || 2377)];
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => {
      socket.destroy();
      reject(unreachable(address, errorText(error)));
    };
    const socket = connect({ host, port, minVersion: 'TLSv1.3', ...options });
    socket.setTimeout(CONNECT_MS, () => fail(new Error('it does not answer')));
    socket.once('error', fail);
    socket.once('secureConnect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
  });
}

function onMessages(socket: TLSSocket, take: (message: unknown) => void): void {
  const decoder = new FrameDecoder();
  socket.on('data', (data: Buffer) => {
    const frames = decoder.push(data);
    try {
      if (frames === 'malformed') throw new Error('not a frame');
      for (const { kind, body } of frames) {
        if (kind === FRAME.json) take(JSON.parse(body.toString()));
      }
    } catch (error) {
      socket.destroy(error instanceof Error ? error : undefined);
    }
  });
}

/** Every certificate that a peer showed, its own first. */
function shownBy(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let one = socket.getPeerX509Certificate();
  while (one && !chain.some(({ fingerprint256 }) => fingerprint256 === one?.fingerprint256)) {
    chain.push(one);
    one = one.issuerCertificate;
  }
  return chain;
}

/**
 * Asks a manager to become a node. Nothing, above all not the token, is sent before `trusts` has
 * agreed to the certificates that the peer has shown, its own first.
 */
export async function joinCluster(
  address: string,
  order: Omit<JoinOrder, 'open'>,
  trusts: (chain: readonly X509Certificate[]) => void,
): Promise<JoinGrant> {
  const socket = await opened(address, { rejectUnauthorized: false });
  try {
    trusts(shownBy(socket));
    const answer = new Promise<unknown>((resolve, reject) => {
      onMessages(socket, resolve);
      socket.once('close', () => reject(unreachable(address, 'it ended the connection')));
      socket.setTimeout(JOIN_MS, () => reject(unreachable(address, 'it does not answer')));
    });
    socket.write(encodeMessage({ open: 'join', ...order } satisfies JoinOrder));
    const message = await answer;
    if (isRefusal(message)) throw new RefusalError(message);
    // exempt(as): a trusted manager's answer
    return message as JoinGrant;
  } finally {
    socket.destroy();
  }
}

/** A session with a manager. */
export type ManagerSession = {
  send(message: NodeMessage): void;
  close(): void;
};

/** A connection with a manager of the cluster. */
function openedAs(
  address: string,
  { certificate, key, roots, clusterId }: NodeTls,
): Promise<TLSSocket> {
  return opened(address, {
    ...{ cert: certificate, key, ca: [...roots] },
    // Managers are known by role and cluster, not by the names that they are reached at.
    checkServerIdentity: (_: string, { subject }: { subject: Record<string, unknown> }) =>
      subject['OU'] === 'manager' && subject['O'] === clusterId
        ? undefined
        : new Error('it is no manager of this cluster'),
  });
}

/** Lines of tasks on their way to a manager. */
export type LogsConnection = {
  send(line: TaskLine): void;
  /** Nothing more comes. */
  end(): void;
};

/** Opens what a manager has asked for; `closed` is called once, when nobody reads it any more. */
export async function openLogs(
  address: string,
  tls: NodeTls,
  stream: string,
  closed: () => void,
): Promise<LogsConnection> {
  const socket = await openedAs(address, tls);
  socket.once('close', closed);
  // Nothing but a refusal comes, and the end says as much.
  socket.resume();
  const send = (message: TaskLine | LogsHello) => {
    if (!socket.writable) return;
    socket.write(encodeMessage(message));
    if (socket.writableLength > MAX_QUEUED_BYTES) socket.destroy();
  };
  send({ open: 'logs', stream });
  return { send, end: () => socket.end() };
}

/** Begins a session. `take` gets what comes, `ended` is called once, when it is over. */
export async function openSession(
  address: string,
  tls: NodeTls,
  hello: SessionHello,
  take: (message: ManagerMessage) => void,
  ended: () => void,
): Promise<ManagerSession> {
  const socket = await openedAs(address, tls);
  socket.once('close', ended);
  // exempt(as): a trusted manager's message
  onMessages(socket, (message) => take(message as ManagerMessage));
  const send = (message: unknown) => {
    if (socket.destroyed) return;
    socket.write(encodeMessage(message));
    if (socket.writableLength > MAX_QUEUED_BYTES) socket.destroy();
  };
  send(hello);
  return { send, close: () => socket.destroy() };
}
