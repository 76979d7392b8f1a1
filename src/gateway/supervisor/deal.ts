import type { NativeHandle } from '../../net/handles.ts';
import type { BoundSocket } from './socket-set.ts';

/** One handle of a socket's group. */
export type Share = {
  readonly key: string;
  readonly index: number;
  readonly handle: NativeHandle;
  /** How many descriptors of it a worker gets. */
  readonly copies: number;
};

/**
 * A loop accepts one connection a turn from each descriptor. With one alone, a worker whose turns
 * take ten milliseconds would let in a hundred clients a second.
 */
const MOST_COPIES = 8;
/** Descriptors that copies may take in a worker, as of a listener with many ports. */
const MOST_DESCRIPTORS = 64;

/**
 * Which handles a worker serves: that of its own slot, and by turns those of slots that no worker
 * stands in. A socket with a single handle is everybody's.
 */
export function sharesOf(
  sockets: readonly BoundSocket[],
  slot: number,
  manned: readonly number[],
): Share[] {
  const room = Math.floor(MOST_DESCRIPTORS / Math.max(1, sockets.length));
  const most = Math.max(1, Math.min(MOST_COPIES, room));
  return sockets.flatMap((socket) =>
    socket.handles.flatMap((handle, index) => {
      const owner = manned.includes(index) ? index : manned[index % manned.length];
      const mine = owner === slot || socket.bind.kind !== 'ip';
      const copies = socket.transport === 'stream' ? most : 1;
      return mine ? [{ key: socket.key, index, handle, copies }] : [];
    }),
  );
}
