import { createHash, scryptSync, timingSafeEqual } from 'node:crypto';
import { type Clock, systemClock } from '../../base/clock.ts';
import { cryptHash, isSlowHash } from '../../base/crypt.ts';
import type { Route } from '../../model/route.ts';

type BasicAuth = NonNullable<Route['basicAuth']>;

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function passwordFits(password: string, stored: string): boolean {
  if (stored.startsWith('{SHA256}')) {
    return timingSafeEqual(digest(password), padded(Buffer.from(stored.slice(8), 'base64')));
  }
  if (stored.startsWith('{SCRYPT}')) {
    const [cost = '', salt = '', hash = ''] = stored.slice(8).split(':');
    const expected = Buffer.from(hash, 'base64');
    const options = { N: Number(cost), maxmem: 256 * 1024 * 1024 };
    // What cannot be computed (a cost that is no power of two, or too high) fits no password.
    try {
      const bytes = Buffer.from(salt, 'base64');
      const actual = scryptSync(password, bytes, expected.length || 32, options);
      return expected.length > 0 && timingSafeEqual(actual, expected);
    } catch {
      return false;
    }
  }
  const hashed = cryptHash(password, stored);
  return timingSafeEqual(digest(hashed ?? password), digest(stored));
}

function padded(value: Buffer): Buffer {
  const result = Buffer.alloc(32);
  value.copy(result);
  return result;
}

/** Passwords of one worker that are computed in a second; the others are told to come again. */
const MAX_COMPUTED = 5;
/** After so much time in a second, too. */
const MAX_COMPUTING_MS = 250;
const MAX_KNOWN = 10_000;

/**
 * Judges Authorization values. A slow hash (scrypt, bcrypt, crypt) takes tens of milliseconds, in which nothing
 * else is served: what has been computed is kept, and how much is computed in a second is bounded.
 */
export class PasswordGate {
  /** Verdicts by a digest of stored and given password, in order of use. */
  readonly #known = new Map<string, boolean>();
  readonly #clock: Clock;
  #second = 0;
  #computed = 0;
  #computingMs = 0;

  constructor(clock = systemClock) {
    this.#clock = clock;
  }

  /** `busy`: to be asked again in a second. Source: RFC 7617. */
  judge(
    authorization: string | undefined,
    { users }: BasicAuth,
  ): 'authorized' | 'refused' | 'busy' {
    const encoded = /^basic +([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '')?.[1];
    const text = Buffer.from(encoded ?? '', 'base64').toString();
    const colon = text.indexOf(':');
    const user = text.slice(0, Math.max(0, colon));
    const stored = Object.hasOwn(users, user) ? users[user] : undefined;
    // Secrets have been read when the configuration was loaded.
    if (typeof stored !== 'string' || encoded === undefined || colon < 0) return 'refused';
    const password = text.slice(colon + 1);
    const fits =
      stored.startsWith('{SCRYPT}') || isSlowHash(stored)
        ? this.#computedOnce(password, stored)
        : passwordFits(password, stored);
    return fits === undefined ? 'busy' : fits ? 'authorized' : 'refused';
  }

  #computedOnce(password: string, stored: string): boolean | undefined {
    const key = digest(`${stored}\n${password}`).toString('base64');
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#known.delete(key);
      this.#known.set(key, known);
      return known;
    }
    const startedAt = this.#clock.now();
    const second = Math.floor(startedAt / 1000);
    if (second !== this.#second) {
      [this.#second, this.#computed, this.#computingMs] = [second, 0, 0];
    }
    if (this.#computed >= MAX_COMPUTED || this.#computingMs >= MAX_COMPUTING_MS) return undefined;
    this.#computed++;
    const fits = passwordFits(password, stored);
    this.#computingMs += this.#clock.now() - startedAt;
    this.#known.set(key, fits);
    const oldest = this.#known.size > MAX_KNOWN ? this.#known.keys().next().value : undefined;
    if (oldest !== undefined) this.#known.delete(oldest);
    return fits;
  }
}

/** The gate of this worker. */
export const passwordGate = new PasswordGate();
