import { randomBytes } from 'node:crypto';
import { Agent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import Consul from 'consul';
import { ConsulCatalog } from './consul-catalog.ts';
import { ConsulHosts } from './consul-hosts.ts';
import { ConsulParts, type Entry, type Written } from './consul-parts.ts';
import { type Answer, QueryContext } from './consul-query.ts';
import { tooLarge } from './edit.ts';
import type { Change, Stored } from './embedded-store.ts';
import type { StoreTls } from './json-http.ts';
import type { Feed, SharedBackend } from './shared-store.ts';

/** Where a cluster's state is in Consul. */
export type ConsulOptions = {
  /** `host:port` of each agent that may be asked. */
  readonly addresses: readonly string[];
  /** Beginning of every key, without a slash at either end. */
  readonly prefix: string;
  readonly tls: StoreTls | undefined;
  readonly token: string | undefined;
  /** Life of the leader's session; Consul takes 10 s to a day. */
  readonly leaseMs: number;
  readonly renewMs?: number | undefined;
};

const CALL_MS = 3000;
/** Of a transaction. Source: Consul, "Transactions". */
const MAX_OPERATIONS = 64;
/** How long an agent holds a query when nothing changes; a dead one is noticed after it. */
const WAIT_S = 5;
const QUERY_MS = (WAIT_S + 3) * 1000;
/** Between two reads of the whole state at least, and as a share of what the last one took. */
const MIN_PAUSE_MS = 20;
const PAUSE_SHARE = 1;
/** What Consul says to a transaction or value above its limits. Source: Consul, `txn_max_req_len`. */
const TOO_LARGE = 413;
/** A session that ended by itself keeps the lock closed this long. */
const LOCK_DELAY = '1s';

/** Consul's key-value store by one agent at a time. A version is an index of its log. */
export class ConsulBackend implements SharedBackend {
  readonly leaseMs: number;
  readonly renewMs: number | undefined;
  readonly catalog = new ConsulCatalog(() => this.#agent);
  readonly hosts = new ConsulHosts(() => this.#agent);
  readonly #options: ConsulOptions;
  readonly #agents: readonly Consul[];
  readonly #parts: ConsulParts;
  #at = 0;

  constructor(options: ConsulOptions) {
    this.#options = options;
    this.#parts = new ConsulParts(options.prefix, () => this.#agent);
    this.leaseMs = options.leaseMs;
    this.renewMs = options.renewMs;
    this.#agents = options.addresses.map((address) => {
      const url = new URL(`http://${address}`);
      const { tls, token } = options;
      return new Consul({
        host: url.hostname,
        port: Number(url.port || 8500),
        secure: tls !== undefined,
        defaults: token === undefined ? {} : { token },
        ...(tls && { agent: new Agent({ keepAlive: true, ...tls }) }),
      });
    });
  }

  get name(): string {
    return `Consul at ${this.#options.addresses.join(',')}`;
  }

  get #agent(): Consul {
    const agent = this.#agents[this.#at];
    if (!agent) throw new Error('no agent of Consul is known');
    return agent;
  }

  turn(): void {
    this.#at = (this.#at + 1) % this.#agents.length;
  }

  async commit(changes: readonly Change[]): Promise<{ version: number } | { stale: string }> {
    const written = await this.#parts.write(changes);
    // One that fails may have been made all the same: then its value refers to the parts.
    const made = await this.#transact(changes, written);
    if ('stale' in made) await this.#parts.drop(written);
    return made;
  }

  async #transact(
    changes: readonly Change[],
    written: readonly (Written | undefined)[],
  ): Promise<{ version: number } | { stale: string }> {
    const operations: { KV: Operation }[] = changes.map((change, at) => ({
      KV: this.#operation(change, written[at]),
    }));
    // Consul tells no index of a deletion, so each transaction sets one more key; to another
    // value, since a write that changes nothing gets no index either.
    const Key = `${this.#options.prefix}/touched`;
    operations.push({ KV: { Verb: 'set', Key, Value: randomBytes(12).toString('base64') } });
    operations.push(...this.#parts.guards(written));
    const keys = changes.map((change) => this.#key(change));
    operations.push(...this.#parts.removals(keys, MAX_OPERATIONS - operations.length));
    try {
      const options = { timeout: CALL_MS, ctx: new QueryContext() };
      const [, { Results }] = await transact(this.#agent)(operations, options);
      return { version: Math.max(...Results.map(({ KV }) => KV.ModifyIndex)) };
    } catch (error) {
      if (statusOf(error) === TOO_LARGE) throw tooLarge(this.name, error);
      const failed = conflicting(error);
      if (failed === undefined) throw error;
      const { kind, id } = changes[failed] ?? { kind: 'an', id: 'object' };
      return { stale: `${kind} ${id}` };
    }
  }

  async follow(feed: Feed, signal: AbortSignal): Promise<void> {
    const context = new QueryContext();
    const cancel = () => context.emit('cancel');
    signal.addEventListener('abort', cancel);
    try {
      let index = '0';
      while (!signal.aborted) {
        const began = performance.now();
        const { entries, next } = await this.#read(index, context);
        const textOf = this.#parts.reader(entries);
        const objects = entries.flatMap((entry) => this.#object(entry, textOf));
        feed.replace(objects, Number(next));
        // An index that goes back tells of a restored server. Source: Consul, blocking queries.
        const took = index === '0' ? performance.now() - began : 0;
        index = Number(next) >= Number(index) ? next : '0';
        await sleep(Math.max(MIN_PAUSE_MS, took * PAUSE_SHARE));
      }
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  async grant(): Promise<string> {
    const { ID } = await this.#agent.session.create({
      name: 'sluice manager',
      ttl: `${Math.ceil(this.leaseMs / 1000)}s`,
      behavior: 'delete',
      lockdelay: LOCK_DELAY,
      // Without the agent's own health, which says nothing of this manager.
      checks: [],
      timeout: CALL_MS,
    } as never);
    return ID;
  }

  async renew(lease: string): Promise<boolean> {
    try {
      await this.#agent.session.renew({ id: lease, timeout: CALL_MS } as never);
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  }

  lock(lease: string, holder: string): Promise<boolean> {
    const key = `${this.#options.prefix}/leader`;
    const order = { key, value: holder, acquire: lease, timeout: CALL_MS };
    return this.#agent.kv.set(order as never);
  }

  async revoke(lease: string): Promise<void> {
    const key = `${this.#options.prefix}/leader`;
    // Given back by hand first: a session that ends with a lock keeps it closed for a while.
    const order = { key, value: '', release: lease, timeout: CALL_MS };
    await this.#agent.kv.set(order as never);
    await this.#agent.session.destroy({ id: lease, timeout: CALL_MS } as never);
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }

  #key({ kind, id }: Pick<Change, 'kind' | 'id'>): string {
    return `${this.#options.prefix}/o/${kind}/${id}`;
  }

  #operation(change: Change, written: Written | undefined): Operation {
    const { expected } = change;
    const Key = this.#key(change);
    const cas = expected === undefined ? {} : { Index: expected };
    if (!written) return { Verb: expected === undefined ? 'delete' : 'delete-cas', Key, ...cas };
    return { Verb: expected === undefined ? 'set' : 'cas', Key, ...written, ...cas };
  }

  async #read(index: string, ctx: QueryContext): Promise<{ entries: Entry[]; next: string }> {
    const options = {
      key: `${this.#options.prefix}/`,
      recurse: true,
      index,
      wait: `${WAIT_S}s`,
      timeout: QUERY_MS,
      ctx,
    };
    // The client's types know neither `ctx` nor what it changes about the result.
    const result = (await this.#agent.kv.get(options)) as unknown;
    const [answer, entries] = result as [Answer, Entry[] | undefined];
    return { entries: entries ?? [], next: answer.headers['x-consul-index'] ?? '0' };
  }

  #object(
    entry: Entry,
    textOf: (entry: Entry) => string | undefined,
  ): { kind: string; object: Stored }[] {
    const rest = entry.Key.slice(this.#options.prefix.length);
    const [, kind, id] = /^\/o\/([^/]+)\/(.+)$/.exec(rest) ?? [];
    const text = kind === undefined ? undefined : textOf(entry);
    if (kind === undefined || id === undefined || text === undefined) return [];
    return [{ kind, object: { id, version: entry.ModifyIndex, value: JSON.parse(text) } }];
  }
}

/** Source: Consul, "Transactions". */
type Operation = { Verb: string; Key: string; Value?: string; Flags?: number; Index?: number };

type Transact = (
  operations: readonly unknown[],
  options: unknown,
) => Promise<[Answer, { Results: { KV: { ModifyIndex: number } }[] }]>;

function transact({ transaction }: Consul): Transact {
  // exempt(as): the client's types know neither `ctx` nor what it changes about the result
  return transaction.create.bind(transaction) as unknown as Transact;
}

type HttpFault = { statusCode?: number; response?: { statusCode?: number; body?: unknown } };

function statusOf(error: unknown): number | undefined {
  // exempt(as): the client adds these fields to its errors
  const fault = error as HttpFault;
  return fault.statusCode ?? fault.response?.statusCode;
}

/** The first operation of a transaction that met another version; undefined: it failed otherwise. */
function conflicting(error: unknown): number | undefined {
  if (statusOf(error) !== 409) return undefined;
  // exempt(as): the shape is the documented one
  const body = (error as HttpFault).response?.body as { Errors?: { OpIndex: number }[] };
  return body?.Errors?.[0]?.OpIndex ?? 0;
}
