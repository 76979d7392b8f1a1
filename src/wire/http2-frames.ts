/** Types of frames. Source: RFC 9113 section 6. */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** Flags of frames; `ack` and `endStream` share a bit. Source: RFC 9113 section 6. */
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** Error codes of RST_STREAM and GOAWAY. Source: RFC 9113 section 7. */
export const H2_ERROR = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  connect: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;

/** Identifiers of settings. Source: RFC 9113 section 6.5.2, RFC 8441 section 3. */
export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const;

/** What a client sends before its first frame. Source: RFC 9113 section 3.4. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Every peer takes frames of this many bytes; this engine sends and takes no larger ones. */
export const MAX_FRAME_BYTES = 16_384;

/** Largest flow-control window. Source: RFC 9113 section 6.9.1. */
export const MAX_WINDOW = 0x7fffffff;

/** Window of streams and connection until something else is said. */
export const DEFAULT_WINDOW = 65_535;

const HEADER_BYTES = 9;
const ARENA_BYTES = 16_384;
const MIN_ARENA_BYTES = 2048;
const MAX_SPARES = 64;
const COPIED_BYTES = 2048;
const EMPTY = Buffer.alloc(0);

/**
 * Cuts received bytes into frames. The frame at hand stands in the fields, its payload in
 * `buffer` from `start` to `end`: valid until the next call of `next`.
 */
export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  #data: Buffer = EMPTY;
  #at = 0;
  #partial: Buffer = EMPTY;
  #filled = 0;

  /** Gives bytes; only after `next` has said `need-more`. */
  feed(data: Buffer): void {
    this.#data = data;
    this.#at = 0;
  }

  /** Goes to the next frame; `too-large` tells of one whose payload is over the limit. */
  next(): 'frame' | 'need-more' | 'too-large' {
    if (this.#filled > 0) return this.#finishPartial();
    const left = this.#data.length - this.#at;
    if (left < HEADER_BYTES) return this.#keep(left, HEADER_BYTES);
    const length = this.#readHeader(this.#data, this.#at);
    if (length > MAX_FRAME_BYTES) return 'too-large';
    if (left < HEADER_BYTES + length) return this.#keep(left, HEADER_BYTES + length);
    this.buffer = this.#data;
    this.start = this.#at + HEADER_BYTES;
    this.end = this.start + length;
    this.#at = this.end;
    return 'frame';
  }

  #readHeader(buffer: Buffer, at: number): number {
    this.type = buffer[at + 3] as number;
    this.flags = buffer[at + 4] as number;
    this.streamId = buffer.readUInt32BE(at + 5) & MAX_WINDOW;
    return buffer.readUIntBE(at, 3);
  }

  #keep(left: number, wanted: number): 'need-more' {
    if (left > 0) {
      this.#partial = Buffer.allocUnsafe(wanted);
      this.#data.copy(this.#partial, 0, this.#at);
      this.#filled = left;
    }
    this.#data = EMPTY;
    this.#at = 0;
    return 'need-more';
  }

  #finishPartial(): 'frame' | 'need-more' | 'too-large' {
    if (!this.#fill(HEADER_BYTES)) return 'need-more';
    const length = this.#readHeader(this.#partial, 0);
    if (length > MAX_FRAME_BYTES) return 'too-large';
    if (!this.#fill(HEADER_BYTES + length)) return 'need-more';
    this.buffer = this.#partial;
    this.start = HEADER_BYTES;
    this.end = HEADER_BYTES + length;
    this.#partial = EMPTY;
    this.#filled = 0;
    return 'frame';
  }

  /** Fills the partial frame up to `wanted` bytes, as far as there are any. */
  #fill(wanted: number): boolean {
    if (this.#filled >= wanted) return true;
    if (this.#partial.length < wanted) {
      const larger = Buffer.allocUnsafe(wanted);
      this.#partial.copy(larger, 0, 0, this.#filled);
      this.#partial = larger;
    }
    const taken = Math.min(wanted - this.#filled, this.#data.length - this.#at);
    this.#data.copy(this.#partial, this.#filled, this.#at, this.#at + taken);
    this.#filled += taken;
    this.#at += taken;
    return this.#filled >= wanted;
  }
}

/** Room to write frames into; what has been handed out of it is never written again. */
type Arena = { readonly buffer: Buffer; at: number };

/** Arenas with room left, for whichever connection writes next: an idle one holds none. */
const spares: Arena[] = [];

/**
 * Puts frames together: small pieces are copied into one buffer, so that what is sent in one turn
 * is few writes; large ones are passed on as they are.
 */
export class FrameWriter {
  /** Bytes that wait for `take`. */
  bytes = 0;
  #chunks: Buffer[] = [];
  #arena: Arena | undefined;
  #start = 0;

  /** Writes a frame's header; `length` bytes of payload have to follow. */
  frame(type: number, flags: number, streamId: number, length: number): void {
    const arena = this.#reserve(HEADER_BYTES);
    const { buffer } = arena;
    let { at } = arena;
    buffer[at++] = length >>> 16;
    buffer[at++] = (length >>> 8) & 0xff;
    buffer[at++] = length & 0xff;
    buffer[at++] = type;
    buffer[at++] = flags;
    arena.at = buffer.writeUInt32BE(streamId, at);
    this.bytes += HEADER_BYTES;
  }

  u16(value: number): void {
    const arena = this.#reserve(2);
    arena.at = arena.buffer.writeUInt16BE(value, arena.at);
    this.bytes += 2;
  }

  u32(value: number): void {
    const arena = this.#reserve(4);
    arena.at = arena.buffer.writeUInt32BE(value >>> 0, arena.at);
    this.bytes += 4;
  }

  /** Adds payload; a large piece must not change afterwards. */
  payload(data: Buffer): void {
    this.bytes += data.length;
    if (data.length > COPIED_BYTES) {
      this.#seal();
      this.#chunks.push(data);
      return;
    }
    const arena = this.#reserve(data.length);
    data.copy(arena.buffer, arena.at);
    arena.at += data.length;
  }

  /** Everything written since the last call. */
  take(): Buffer[] {
    this.#release();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.bytes = 0;
    return chunks;
  }

  #reserve(size: number): Arena {
    if (this.#arena && ARENA_BYTES - this.#arena.at >= size) return this.#arena;
    this.#release();
    const arena = spares.pop() ?? { buffer: Buffer.allocUnsafeSlow(ARENA_BYTES), at: 0 };
    this.#arena = arena;
    this.#start = arena.at;
    return arena;
  }

  #seal(): void {
    const arena = this.#arena;
    if (!arena || arena.at === this.#start) return;
    this.#chunks.push(arena.buffer.subarray(this.#start, arena.at));
    this.#start = arena.at;
  }

  #release(): void {
    this.#seal();
    const arena = this.#arena;
    this.#arena = undefined;
    if (!arena || ARENA_BYTES - arena.at < MIN_ARENA_BYTES || spares.length >= MAX_SPARES) return;
    spares.push(arena);
  }
}

/** Settings in effect for one side of a connection. */
export type Http2Settings = {
  headerTableSize: number;
  maxConcurrentStreams: number;
  initialWindowSize: number;
  maxHeaderListSize: number;
  enableConnectProtocol: boolean;
};

/** What holds before the first SETTINGS. Source: RFC 9113 section 6.5.2. */
export function initialSettings(): Http2Settings {
  return {
    headerTableSize: 4096,
    maxConcurrentStreams: Number.POSITIVE_INFINITY,
    initialWindowSize: DEFAULT_WINDOW,
    maxHeaderListSize: Number.POSITIVE_INFINITY,
    enableConnectProtocol: false,
  };
}

/**
 * Applies one setting of the peer; an error code when its value is not allowed. Unknown ones are
 * ignored. `fromServer`: only then ENABLE_PUSH has to be 0.
 */
export function applySetting(
  settings: Http2Settings,
  id: number,
  value: number,
  fromServer: boolean,
): number | undefined {
  switch (id) {
    case SETTING.headerTableSize:
      settings.headerTableSize = value;
      return undefined;
    case SETTING.enablePush:
      return value > (fromServer ? 0 : 1) ? H2_ERROR.protocol : undefined;
    case SETTING.maxConcurrentStreams:
      settings.maxConcurrentStreams = value;
      return undefined;
    case SETTING.initialWindowSize:
      if (value > MAX_WINDOW) return H2_ERROR.flowControl;
      settings.initialWindowSize = value;
      return undefined;
    case SETTING.maxFrameSize:
      return value < MAX_FRAME_BYTES || value > 0xffffff ? H2_ERROR.protocol : undefined;
    case SETTING.maxHeaderListSize:
      settings.maxHeaderListSize = value;
      return undefined;
    case SETTING.enableConnectProtocol:
      if (value > 1) return H2_ERROR.protocol;
      settings.enableConnectProtocol = value === 1;
      return undefined;
    default:
      return undefined;
  }
}
