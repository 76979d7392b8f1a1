import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

const BUFFER_BYTES = 65_536;
/** A read of more than this is taken for bulk, and the next one gets memory of its own. */
const BULK_BYTES = 16_384;

/** Every socket that is not in bulk is read into this; what was read is copied out at once. */
const shared = Buffer.allocUnsafeSlow(BUFFER_BYTES);

type Internals = { buffer: symbol; callback: symbol; next: symbol };

type Fields = Record<symbol, unknown> & {
  _handle?: { useUserBuffer?(buffer: Buffer): void } | null;
};

let internals: Internals | undefined;

/** The fields behind the documented `onread` option, which is for sockets that one opens oneself. */
function findInternals(socket: Socket): Internals | undefined {
  if (internals) return internals;
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [buffer, callback, next] = [named('kBuffer'), named('kBufferCb'), named('kBufferGen')];
  if (buffer && callback && next) internals = { buffer, callback, next };
  return internals;
}

function copyOf(buffer: Buffer, size: number): Buffer {
  const copy = Buffer.allocUnsafe(size);
  buffer.copy(copy, 0, 0, size);
  return copy;
}

function readInto(
  socket: Socket,
  onData: (data: Buffer) => void,
  passedOn: () => boolean,
): (() => void) | undefined {
  const found = findInternals(socket);
  // exempt(as): fields of Node's own that its types do not show; each is looked for before use.
  const fields = socket as unknown as Fields;
  const handle = fields._handle;
  if (!found || !handle?.useUserBuffer) return undefined;
  let released = false;
  let bulk = false;
  let free = false;
  fields[found.buffer] = shared;
  fields[found.callback] = (size: number, buffer: Buffer): boolean => {
    bulk = size > BULK_BYTES;
    const data = buffer === shared ? copyOf(buffer, size) : buffer.subarray(0, size);
    free = false;
    if (released || socket.readableLength > 0) return socket.push(data);
    onData(data);
    free = passedOn();
    return true;
  };
  fields[found.next] = (): Buffer | undefined => {
    const own = fields[found.buffer] !== shared;
    if (!bulk) return own ? shared : undefined;
    return own && free ? undefined : Buffer.allocUnsafeSlow(BUFFER_BYTES);
  };
  handle.useUserBuffer(shared);
  return () => {
    released = true;
  };
}

/**
 * Hands over what arrives on a socket, without memory of its own for each read: a small read costs
 * a copy instead of 64 KiB for the collector. `onData` owns what it gets, unless `passedOn`, asked
 * after it, says that nobody needs its memory any more: bulk is then read into that again. Anything
 * but a socket, and data put back before, comes by `data` events. The returned function makes all
 * that follows come by `data` events of other listeners.
 */
export function readDirectly(
  stream: Duplex,
  onData: (data: Buffer) => void,
  passedOn: () => boolean = () => false,
): () => void {
  const release = stream instanceof Socket ? readInto(stream, onData, passedOn) : undefined;
  stream.on('data', onData);
  return () => {
    stream.off('data', onData);
    release?.();
  };
}
