/** What a frame carries: a JSON message, or bytes of one of three streams. */
export const FRAME = { json: 0, stdin: 1, stdout: 2, stderr: 3 } as const;

export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

export type Frame = { readonly kind: FrameKind; readonly body: Buffer };

/** A frame of more bytes ends the connection: whole intents of a large host fit well. */
export const MAX_FRAME_BYTES = 64 * 1024 * 1024;
const HEAD_BYTES = 5;

/** Length of the body (32 bits, big-endian), kind (8 bits), body. */
export function encodeFrame(kind: FrameKind, body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + body.length);
  frame.writeUInt32BE(body.length, 0);
  frame.writeUInt8(kind, 4);
  body.copy(frame, HEAD_BYTES);
  return frame;
}

/** A JSON message as a frame. */
export function encodeMessage(message: unknown): Buffer {
  return encodeFrame(FRAME.json, Buffer.from(JSON.stringify(message)));
}

function isKind(kind: number): kind is FrameKind {
  return kind <= FRAME.stderr;
}

/** Cuts a stream of bytes into frames. */
export class FrameDecoder {
  /** Bytes of a body at most; may be changed between two frames. */
  maxBytes: number;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(maxBytes = MAX_FRAME_BYTES) {
    this.maxBytes = maxBytes;
  }

  /** Complete frames, or `malformed` after which the stream is of no use. */
  push(data: Buffer): Frame[] | 'malformed' {
    this.#parts.push(data);
    this.#size += data.length;
    const frames: Frame[] = [];
    for (;;) {
      const need = this.#need();
      if (need === undefined) return 'malformed';
      if (this.#size < need) return frames;
      const all = this.#joined();
      const kind = all.readUInt8(4);
      if (!isKind(kind)) return 'malformed';
      frames.push({ kind, body: all.subarray(HEAD_BYTES, need) });
      this.#parts = need < all.length ? [all.subarray(need)] : [];
      this.#size -= need;
    }
  }

  /** Bytes of the next frame with its head; undefined when it is too large. */
  #need(): number | undefined {
    if (this.#size < HEAD_BYTES) return HEAD_BYTES;
    if ((this.#parts[0]?.length ?? 0) < HEAD_BYTES) this.#joined();
    const length = this.#parts[0]?.readUInt32BE(0) ?? 0;
    return length > this.maxBytes ? undefined : HEAD_BYTES + length;
  }

  #joined(): Buffer {
    const all = this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts);
    this.#parts = all ? [all] : [];
    return all ?? Buffer.alloc(0);
  }
}
