import { randomBytes } from 'node:crypto';
import type Consul from 'consul';
import { tooLarge } from './edit.ts';
import type { Change } from './embedded-store.ts';

/** The longest value that a transaction takes along, of which all of it may have 512 KiB. */
const MAX_WHOLE = 64 * 1024;
/** The longest value, about what etcd takes. */
const MAX_BYTES = 1_500_000;
/** Letters of one part. Source: Consul, `kv_max_value_size`. */
const PART_LETTERS = 384 * 1024;
/** Parts that nothing refers to are somebody's who is about to write, or has failed to, for so long. */
const ORPHAN_MS = 60_000;
/** The key beside parts that says that all are there. */
const WHOLE = 'whole';
const CALL_MS = 3000;

/** A value as one key holds it; `Flags` is the number of its parts, 0 for one that is whole. */
export type Written = { readonly Value: string; readonly Flags: number };

/** A key as Consul shows it. */
export type Entry = { Key: string; Value: string | null; Flags: number; ModifyIndex: number };

/**
 * Values that are longer than a transaction takes: in parts, each a key of its own, that are there
 * before the value refers to them.
 */
export class ConsulParts {
  readonly #root: string;
  readonly #agent: () => Consul;
  /** Where the parts are of each object that has some, by its key. */
  #tokens = new Map<string, string>();
  readonly #orphans = new Map<string, number>();
  readonly #orphanMs: number;

  constructor(prefix: string, agent: () => Consul, orphanMs = ORPHAN_MS) {
    this.#root = `${prefix}/p/`;
    this.#agent = agent;
    this.#orphanMs = orphanMs;
  }

  /** What is to be written for each change; undefined for one that removes. */
  async write(changes: readonly Change[]): Promise<(Written | undefined)[]> {
    const written: (Written | undefined)[] = [];
    for (const { value } of changes) {
      const bytes = value === undefined ? undefined : Buffer.from(JSON.stringify(value));
      const whole = bytes === undefined || bytes.length <= MAX_WHOLE;
      if (bytes && bytes.length > MAX_BYTES) {
        throw tooLarge('Consul', `a value of ${bytes.length} bytes is larger than ${MAX_BYTES}`);
      }
      if (!whole) written.push(await this.#split(bytes.toString('base64')));
      else written.push(bytes && { Value: bytes.toString('base64'), Flags: 0 });
    }
    return written;
  }

  /** Takes back what was written for changes that were not made. */
  async drop(written: readonly (Written | undefined)[]): Promise<void> {
    for (const one of written) {
      if (one && one.Flags > 0) await this.#remove(Buffer.from(one.Value, 'base64').toString());
    }
  }

  /** Operations that let a transaction fail when parts of what it writes are gone again. */
  guards(written: readonly (Written | undefined)[]): { KV: { Verb: string; Key: string } }[] {
    return written.flatMap((one) => {
      if (!one || one.Flags === 0) return [];
      const token = Buffer.from(one.Value, 'base64').toString();
      return [{ KV: { Verb: 'get', Key: `${this.#root}${token}/${WHOLE}` } }];
    });
  }

  /**
   * Operations that remove the parts of objects which are written anew, or removed; at most `room`: what
   * is left is removed when nothing refers to it any more.
   */
  removals(keys: readonly string[], room: number): { KV: { Verb: string; Key: string } }[] {
    const operations = keys.flatMap((key) => {
      const token = this.#tokens.get(key);
      return token === undefined
        ? []
        : [{ KV: { Verb: 'delete-tree', Key: `${this.#root}${token}/` } }];
    });
    return operations.slice(0, room);
  }

  /** Reads everything that there is; the text of a value, undefined when parts of it are missing. */
  reader(entries: readonly Entry[]): (entry: Entry) => string | undefined {
    const parts = new Map<string, string>();
    for (const { Key, Value } of entries) {
      if (Key.startsWith(this.#root)) parts.set(Key.slice(this.#root.length), Value ?? '');
    }
    const referring = entries.filter(({ Flags }) => Flags > 0);
    this.#tokens = new Map(referring.map(({ Key, Value }) => [Key, Value ?? '']));
    this.#removeOrphans([...parts.keys()].map((key) => key.slice(0, key.indexOf('/'))));
    return ({ Value, Flags }) => {
      if (Flags === 0) return Value ?? 'null';
      const own = Array.from({ length: Flags }, (_, at) => parts.get(`${Value}/${at}`));
      if (own.includes(undefined)) return undefined;
      return Buffer.from(own.join(''), 'base64').toString();
    };
  }

  async #split(text: string): Promise<Written> {
    const token = randomBytes(12).toString('hex');
    const count = Math.ceil(text.length / PART_LETTERS);
    for (let at = 0; at < count; at++) {
      const value = text.slice(at * PART_LETTERS, (at + 1) * PART_LETTERS);
      const order = { key: `${this.#root}${token}/${at}`, value, timeout: CALL_MS };
      await this.#agent().kv.set(order as never);
    }
    const whole = { key: `${this.#root}${token}/${WHOLE}`, value: '', timeout: CALL_MS };
    await this.#agent().kv.set(whole as never);
    return { Value: Buffer.from(token).toString('base64'), Flags: count };
  }

  async #remove(token: string): Promise<void> {
    const order = { key: `${this.#root}${token}/`, recurse: true, timeout: CALL_MS };
    await this.#agent().kv.del(order as never);
  }

  #removeOrphans(found: readonly string[]): void {
    const known = new Set(this.#tokens.values());
    const orphans = new Set(found.filter((token) => !known.has(token)));
    const now = performance.now();
    for (const token of this.#orphans.keys()) if (!orphans.has(token)) this.#orphans.delete(token);
    for (const token of orphans) {
      const since = this.#orphans.get(token) ?? now;
      this.#orphans.set(token, since);
      // One that stays is found again by the next read.
      if (now - since > this.#orphanMs) void this.#remove(token).catch(() => {});
    }
  }
}
