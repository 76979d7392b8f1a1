import type { Socket } from 'node:net';

const PROBES = 3;
const MIN_PART_MS = 1000;
const PROBES_ALONE_MS = 40_000;

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
  const silenceMs = unacknowledgedMs || PROBES_ALONE_MS;
  // The kernel counts in seconds: three probes fill the last quarter.
  const interval = Math.max(MIN_PART_MS, silenceMs / 4 / PROBES);
  const initialDelay = Math.max(MIN_PART_MS, silenceMs - PROBES * interval);
  socket.setKeepAlive({ enable: true, initialDelay, interval, count: PROBES });
  if (unacknowledgedMs === 0 || !setUserTimeout) return;
  const fd = descriptorOf(socket);
  if (fd >= 0) setUserTimeout(fd, unacknowledgedMs);
}

/** Not a part of Node's API: -1 for a socket that has none. */
function descriptorOf(socket: Socket): number {
  if (!('_handle' in socket) || socket.remotePort === undefined) return -1;
  // exempt(as): Node's handles of connections have the descriptor
  return (socket._handle as { fd?: number } | null)?.fd ?? -1;
}
