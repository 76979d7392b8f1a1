import type { Socket } from 'node:net';
import type { NativeHandle } from './handles.ts';

const PROBES = 3;
const MIN_PART_MS = 1000;
const PROBES_ALONE_MS = 40_000;

/** What Node's handle of a TCP socket can do besides. */
type TcpHandle = NativeHandle & {
  setKeepAlive?(enable: boolean, delay: number, interval: number, probes: number): number;
  setNoDelay?(enable: boolean): number;
};

let setUserTimeout: ((fd: number, timeoutMs: number) => void) | undefined;

/** Gives this process the system call that bounds how long sent bytes stay unacknowledged. */
export function offerUserTimeout(set: (fd: number, timeoutMs: number) => void): void {
  setUserTimeout = set;
}

/**
 * Has the kernel end a connection (`ETIMEDOUT`) whose peer has vanished without a word: one that
 * acknowledges neither keep-alive probes nor, where `offerUserTimeout` was called, sent bytes for
 * `unacknowledgedMs`. With 0 probes alone decide, after 40 s.
 * Source: tcp(7), TCP_KEEPIDLE and TCP_USER_TIMEOUT.
 */
export function watchPeer(socket: Socket, unacknowledgedMs: number): void {
  // exempt(as): a field of Node's own, looked for before use.
  const { _handle: handle } = socket as { _handle?: TcpHandle | null };
  if (handle) watch(handle, unacknowledgedMs);
}

/**
 * The same for every connection that a listening socket will accept, which also sends small pieces
 * at once: what is set there is inherited, and costs nothing for each. Source: tcp(7), socket(7).
 */
export function watchPeers(listening: NativeHandle, unacknowledgedMs: number): void {
  const handle: TcpHandle = listening;
  handle.setNoDelay?.(true);
  watch(handle, unacknowledgedMs);
}

function watch(handle: TcpHandle, unacknowledgedMs: number): void {
  // Sockets in the file system have no peers on other hosts.
  if (!handle.setKeepAlive) return;
  const silenceMs = unacknowledgedMs || PROBES_ALONE_MS;
  // The kernel counts in seconds: three probes fill the last quarter.
  const interval = Math.max(MIN_PART_MS, silenceMs / 4 / PROBES);
  const delay = Math.max(MIN_PART_MS, silenceMs - PROBES * interval);
  handle.setKeepAlive(true, Math.trunc(delay / 1000), Math.trunc(interval / 1000), PROBES);
  if (handle.fd >= 0) setUserTimeout?.(handle.fd, unacknowledgedMs);
}
