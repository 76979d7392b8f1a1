import { errorText } from '../base/errors.ts';
import { tooLarge } from './edit.ts';
import type { Change, Stored } from './embedded-store.ts';
import { JsonHttp, type StoreTls } from './json-http.ts';
import type { Feed, SharedBackend } from './shared-store.ts';
import type { StoreEvent } from './store.ts';

/** Where a cluster's state is in etcd. */
export type EtcdOptions = {
  /** `host:port` of each member that may be asked. */
  readonly addresses: readonly string[];
  /** Beginning of every key, without a slash at its end. */
  readonly prefix: string;
  readonly tls: StoreTls | undefined;
  /** Life of the leader's lease, in whole seconds. */
  readonly leaseMs: number;
  readonly renewMs?: number | undefined;
};

const CALL_MS = 3000;
const LOAD_MS = 30_000;
/** How often the member that is watched has to prove that it hears the others. */
const PROBE_MS = 1000;
/** What etcd says above `--max-request-bytes`. */
const TOO_LARGE = /request is too large|larger than max/;

type KeyValue = { key?: string; value?: string; mod_revision?: string };
type Header = { revision?: string };
type RangeAnswer = { header?: Header; kvs?: KeyValue[] };
type TxnAnswer = {
  header?: Header;
  succeeded?: boolean;
  responses?: { response_range?: unknown }[];
};
type WatchAnswer = {
  result?: {
    header?: Header;
    created?: boolean;
    canceled?: boolean;
    compact_revision?: string;
    cancel_reason?: string;
    events?: { type?: string; kv?: KeyValue }[];
  };
  error?: { message?: string };
};

const base64 = (text: string) => Buffer.from(text).toString('base64');
const plain = (text: string | undefined) => Buffer.from(text ?? '', 'base64').toString();

/**
 * etcd's version 3 API by its JSON gateway, one member at a time. A version is a revision, so
 * every change of a transaction has the same. Source: etcd 3.4, API reference and gRPC gateway.
 */
export class EtcdBackend implements SharedBackend {
  readonly leaseMs: number;
  readonly renewMs: number | undefined;
  readonly #addresses: readonly string[];
  readonly #members: readonly JsonHttp[];
  readonly #prefix: string;
  #at = 0;

  constructor({ addresses, prefix, tls, leaseMs, renewMs }: EtcdOptions) {
    const scheme = tls ? 'https' : 'http';
    this.#addresses = addresses;
    this.#members = addresses.map((address) => new JsonHttp(`${scheme}://${address}`, tls));
    this.#prefix = prefix;
    this.leaseMs = leaseMs;
    this.renewMs = renewMs;
  }

  get name(): string {
    return `etcd at ${this.#addresses.join(',')}`;
  }

  get #member(): JsonHttp {
    const member = this.#members[this.#at];
    if (!member) throw new Error('no member of etcd is known');
    return member;
  }

  turn(): void {
    this.#at = (this.#at + 1) % this.#members.length;
  }

  async commit(changes: readonly Change[]): Promise<{ version: number } | { stale: string }> {
    const compare = changes.flatMap(({ kind, id, expected }) =>
      expected === undefined
        ? []
        : [
            {
              key: this.#key(kind, id),
              target: 'MOD',
              result: 'EQUAL',
              mod_revision: String(expected),
            },
          ],
    );
    const success = changes.map(({ kind, id, value }) =>
      value === undefined
        ? { request_delete_range: { key: this.#key(kind, id) } }
        : { request_put: { key: this.#key(kind, id), value: base64(JSON.stringify(value)) } },
    );
    // A change without effect would get no revision of its own, so each transaction makes one.
    success.push({ request_put: { key: base64(`${this.#prefix}/touched`), value: '' } });
    const body = { compare, success };
    // exempt(as): the shape is the documented one
    const answer = (await this.#member.post('/v3/kv/txn', body, CALL_MS).catch((error: unknown) => {
      throw TOO_LARGE.test(errorText(error)) ? tooLarge(this.name, error) : error;
    })) as TxnAnswer;
    if (!answer.succeeded) return { stale: changes.map(({ kind, id }) => `${kind} ${id}`).join() };
    return { version: Number(answer.header?.revision) };
  }

  async follow(feed: Feed, signal: AbortSignal): Promise<void> {
    const revision = await this.#load(feed);
    const ending = new AbortController();
    const either = AbortSignal.any([signal, ending.signal]);
    const probing = this.#probe(either);
    try {
      await Promise.race([this.#watch(feed, revision + 1, either), probing]);
    } finally {
      ending.abort();
      await probing.catch(() => {});
    }
  }

  async grant(): Promise<string> {
    const body = { TTL: String(Math.ceil(this.leaseMs / 1000)) };
    // exempt(as): the shape is the documented one
    const { ID } = (await this.#member.post('/v3/lease/grant', body, CALL_MS)) as { ID: string };
    return ID;
  }

  async renew(lease: string): Promise<boolean> {
    const answer = await this.#member.post('/v3/lease/keepalive', { ID: lease }, CALL_MS);
    // exempt(as): the shape is the documented one; no TTL tells that the lease is over
    const { result } = answer as { result?: { TTL?: string } };
    return Number(result?.TTL ?? 0) > 0;
  }

  async lock(lease: string, holder: string): Promise<boolean> {
    const key = base64(`${this.#prefix}/leader`);
    const body = {
      compare: [{ key, target: 'CREATE', result: 'EQUAL', create_revision: '0' }],
      success: [{ request_put: { key, value: base64(holder), lease } }],
      failure: [{ request_range: { key } }],
    };
    // exempt(as): the shape is the documented one
    const answer = (await this.#member.post('/v3/kv/txn', body, CALL_MS)) as TxnAnswer;
    if (answer.succeeded) return true;
    const found = answer.responses?.[0]?.response_range as { kvs?: { lease?: string }[] };
    return found?.kvs?.[0]?.lease === lease;
  }

  async revoke(lease: string): Promise<void> {
    await this.#member.post('/v3/lease/revoke', { ID: lease }, CALL_MS);
  }

  close(): void {
    for (const member of this.#members) member.close();
  }

  #key(kind: string, id: string): string {
    return base64(`${this.#prefix}/o/${kind}/${id}`);
  }

  /** Everything under the prefix, and as of when. */
  async #load(feed: Feed): Promise<number> {
    const body = { ...this.#range(), limit: '0' };
    // exempt(as): the shape is the documented one
    const answer = (await this.#member.post('/v3/kv/range', body, LOAD_MS)) as RangeAnswer;
    const objects = (answer.kvs ?? []).flatMap((entry) => {
      const event = this.#event(entry, false);
      return event?.object ? [{ kind: event.kind, object: event.object }] : [];
    });
    const revision = Number(answer.header?.revision);
    feed.replace(objects, revision);
    return revision;
  }

  #range(): { key: string; range_end: string } {
    // The slash's successor ends the range of everything below the prefix.
    return { key: base64(`${this.#prefix}/`), range_end: base64(`${this.#prefix}0`) };
  }

  /** After a compaction, or when a stream ends, the state is read whole again. */
  #watch(feed: Feed, from: number, signal: AbortSignal): Promise<void> {
    const body = { create_request: { ...this.#range(), start_revision: String(from) } };
    return this.#member.stream('/v3/watch', body, signal, (value) => {
      // exempt(as): the shape is the documented one
      const { result, error } = value as WatchAnswer;
      if (error) throw new Error(error.message ?? 'the watch failed');
      if (result?.canceled) {
        const why = result.compact_revision ? 'its history was compacted' : result.cancel_reason;
        throw new Error(`the watch ended: ${why}`);
      }
      if (!result?.events) return;
      const events = result.events.flatMap(({ type, kv }) => {
        const event = kv && this.#event(kv, type === 'DELETE');
        return event ? [event] : [];
      });
      feed.apply(latest(events), Number(result.header?.revision));
    });
  }

  /** A member that hears no majority answers no read, and its watch would stand still unseen. */
  async #probe(signal: AbortSignal): Promise<void> {
    const body = { key: base64(`${this.#prefix}/leader`), keys_only: true };
    while (!signal.aborted) {
      try {
        await this.#member.post('/v3/kv/range', body, CALL_MS);
      } catch (error) {
        throw new Error(`no answer to a probe: ${errorText(error)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
    }
  }

  #event({ key, value, mod_revision }: KeyValue, gone: boolean): StoreEvent | undefined {
    const rest = plain(key).slice(this.#prefix.length);
    const [, kind, id] = /^\/o\/([^/]+)\/(.+)$/.exec(rest) ?? [];
    if (kind === undefined || id === undefined) return undefined;
    const object: Stored | undefined = gone
      ? undefined
      : { id, version: Number(mod_revision), value: JSON.parse(plain(value)) };
    return { kind, id, object };
  }
}

/** One event for each object: what it came to. */
function latest(events: readonly StoreEvent[]): StoreEvent[] {
  return [...new Map(events.map((event) => [`${event.kind}/${event.id}`, event])).values()];
}
