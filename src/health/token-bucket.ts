/** Settings of a keyed token bucket. */
export type TokenBucketOptions = {
  /** Tokens that return each second. */
  readonly perSecond: number;
  /** Most tokens of a key. */
  readonly burst: number;
  /** Most keys; the least recently used one is forgotten. Default 100 000. */
  readonly maxKeys?: number | undefined;
};

/** Whether a request may pass, and if not, when. */
export type Taken = { readonly allowed: boolean; readonly retryAfterMs: number };

const ALLOWED: Taken = { allowed: true, retryAfterMs: 0 };

type Bucket = { tokens: number; at: number };

/** Token buckets by key in a bounded table. */
export class TokenBuckets {
  readonly #options: TokenBucketOptions;
  readonly #maxKeys: number;
  /** In order of use, the oldest first. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: TokenBucketOptions) {
    this.#options = options;
    this.#maxKeys = options.maxKeys ?? 100_000;
  }

  get size(): number {
    return this.#buckets.size;
  }

  take(key: string, now: number): Taken {
    const bucket = this.#touch(key, now);
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return ALLOWED;
    }
    const retryAfterMs = Math.ceil(((1 - bucket.tokens) * 1000) / this.#options.perSecond);
    return { allowed: false, retryAfterMs };
  }

  /** Takes what other processes let pass; the debt is at most one burst. */
  drain(key: string, tokens: number, now: number): void {
    const bucket = this.#touch(key, now);
    bucket.tokens = Math.max(-this.#options.burst, bucket.tokens - tokens);
  }

  #touch(key: string, now: number): Bucket {
    const { burst, perSecond } = this.#options;
    const bucket = this.#buckets.get(key) ?? { tokens: burst, at: now };
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) * perSecond) / 1000);
    bucket.at = now;
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
    }
    return bucket;
  }
}
