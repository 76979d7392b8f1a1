const SMALL_BYTES = 512;
const TAIL_BYTES = 4096;

/** Takes bytes out of a queue. */
export interface ByteSink {
  payload(data: Buffer): void;
}

/**
 * Chunks in order. Small ones behind others are copied together, so that what a queue holds in
 * memory is near to what it counts, however small the pieces are that a peer sends.
 */
export class ByteQueue {
  bytes = 0;
  #chunks: Buffer[] = [];
  #tail: Buffer | undefined;
  #used = 0;

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.bytes += chunk.length;
    if (chunk.length > SMALL_BYTES || this.bytes === chunk.length) {
      this.#seal();
      this.#chunks.push(chunk);
      return;
    }
    if (this.#tail && this.#tail.length - this.#used < chunk.length) this.#seal();
    this.#tail ??= Buffer.allocUnsafeSlow(TAIL_BYTES);
    chunk.copy(this.#tail, this.#used);
    this.#used += chunk.length;
  }

  /** Takes the first chunk out; undefined when there is none. */
  shift(): Buffer | undefined {
    if (this.#chunks.length === 0) this.#seal();
    const chunk = this.#chunks.shift();
    if (chunk) this.bytes -= chunk.length;
    return chunk;
  }

  /** Moves exactly `count` bytes, of those that are there, on to `sink`. */
  moveTo(sink: ByteSink, count: number): void {
    let left = count;
    while (left > 0) {
      if (this.#chunks.length === 0) this.#seal();
      const chunk = this.#chunks[0];
      if (!chunk) return;
      if (chunk.length > left) {
        sink.payload(chunk.subarray(0, left));
        this.#chunks[0] = chunk.subarray(left);
        this.bytes -= left;
        return;
      }
      this.#chunks.shift();
      this.bytes -= chunk.length;
      left -= chunk.length;
      sink.payload(chunk);
    }
  }

  /** Drops everything; how many bytes that were. */
  clear(): number {
    const dropped = this.bytes;
    this.#chunks = [];
    this.#tail = undefined;
    this.#used = 0;
    this.bytes = 0;
    return dropped;
  }

  #seal(): void {
    if (!this.#tail) return;
    this.#chunks.push(this.#tail.subarray(0, this.#used));
    this.#tail = undefined;
    this.#used = 0;
  }
}
