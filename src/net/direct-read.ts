import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

const BUFFER_BYTES = 65_536;
/** A read of more than this is taken for bulk, and the next one gets memory of its own. */
const BULK_BYTES = 16_384;
const MAX_SPARE = 64;

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

/** Memory for bulk that nobody needs at the moment. */
const spare: Buffer[] = [];

function takeMemory(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
}

/** New memory for every read has V8 look through its whole heap all the time. */
function giveBack(memory: Buffer): void {
  if (spare.length < MAX_SPARE) spare.push(memory);
}

/** The first bytes of a buffer in memory of their own. */
function copyOf(buffer: Buffer, size: number, memory: Buffer = Buffer.allocUnsafe(size)): Buffer {
  buffer.copy(memory, 0, 0, size);
  return memory.subarray(0, size);
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
    const own = buffer === shared ? undefined : buffer;
    const memory = own ?? (bulk ? takeMemory() : undefined);
    const data = own ? own.subarray(0, size) : copyOf(buffer, size, memory);
    free = false;
    if (released || socket.readableLength > 0) return socket.push(data);
    onData(data);
    free = passedOn();
    if (free && memory && !own) giveBack(memory);
    return true;
  };
  fields[found.next] = (): Buffer | undefined => {
    const own = fields[found.buffer] === shared ? undefined : (fields[found.buffer] as Buffer);
    if (bulk) return own && free ? undefined : takeMemory();
    if (own && free) giveBack(own);
    return own && shared;
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
