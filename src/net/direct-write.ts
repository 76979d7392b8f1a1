import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getSystemErrorName } from 'node:util';

/** What a write leaves behind that the kernel did not take at once. */
type Pending = { oncomplete: (status: number) => void; buffer: Buffer | null };
/** Of libuv's handle: a negative system error, 0 when all has gone out, or what is pending. */
type Write<Data> = (request: null, data: Data) => number | Pending;
type Handle = {
  writeLatin1String: Write<string>;
  writeBuffer: Write<Buffer>;
  /** Bytes that the kernel has not taken. */
  readonly writeQueueSize?: number;
};
type Fields = { readonly _handle?: Partial<Handle> | null; readonly encrypted?: boolean };

/** The handle behind a plain socket on which nothing waits; undefined for any other stream. */
function idleHandle(stream: Duplex): Handle | undefined {
  if (!(stream instanceof Socket)) return undefined;
  // exempt(as): fields of Node's own that its types do not show; each is looked for before use.
  const { _handle: handle, encrypted } = stream as unknown as Fields;
  if (!handle?.writeLatin1String || !handle.writeBuffer || encrypted) return undefined;
  const idle = stream.writable && stream.writableLength === 0 && !stream.connecting;
  return idle ? (handle as Handle) : undefined;
}

function fail(stream: Duplex, status: number): void {
  const code = getSystemErrorName(status);
  stream.destroy(Object.assign(new Error(`write ${code}`), { code, errno: status }));
}

/**
 * Writes as `stream.write` does, text as Latin-1, but hands a plain socket's bytes to the kernel
 * without the stream's bookkeeping, which costs as much as the rest of a small message. False: what
 * is written waits, and `drain` follows; `data` belongs to the stream until then.
 */
export function writeDirectly(stream: Duplex, data: string | Buffer): boolean {
  const handle = idleHandle(stream);
  if (!handle) return typeof data === 'string' ? stream.write(data, 'latin1') : stream.write(data);
  const result =
    typeof data === 'string'
      ? handle.writeLatin1String(null, data)
      : handle.writeBuffer(null, data);
  if (typeof result === 'number') {
    if (result < 0) fail(stream, result);
    return true;
  }
  if (typeof data !== 'string') result.buffer = data;
  result.oncomplete = (status) => {
    if (status < 0) fail(stream, status);
    else stream.emit('drain');
  };
  return false;
}

/** Whether the kernel has taken all that was written on a plain socket; false for any other stream. */
export function hasGoneOut(stream: Duplex): boolean {
  return idleHandle(stream)?.writeQueueSize === 0;
}
