import type { NativeHandle } from '../../net/handles.ts';
import type { BoundSocket } from './socket-set.ts';

/** One handle of a socket's group. */
export type Share = {
  readonly key: string;
  readonly index: number;
  readonly handle: NativeHandle;
};

/**
 * Which handles a worker serves: that of its own slot, and by turns those of slots that no worker
 * stands in. A socket with a single handle is everybody's.
 */
export function sharesOf(
  sockets: readonly BoundSocket[],
  slot: number,
  manned: readonly number[],
): Share[] {
  return sockets.flatMap((socket) =>
    socket.handles.flatMap((handle, index) => {
      const owner = manned.includes(index) ? index : manned[index % manned.length];
      const mine = owner === slot || socket.bind.kind !== 'ip';
      return mine ? [{ key: socket.key, index, handle }] : [];
    }),
  );
}
