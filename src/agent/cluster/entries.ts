import { COMMAND_TIMEOUT_MS, type Exec, must } from '../../kernel/exec.ts';
import { IpTool } from '../../kernel/ip.ts';

/** Routes of ours among others'. Source: rtnetlink(7), `rtm_protocol` */
const ROUTE_PROTOCOL = 242;
const TIMEOUT_PER_LINE_MS = 20;

/** An entry of a forwarding, neighbour or routing table by what it is about. */
type Entry =
  | { readonly kind: 'fdb'; readonly link: string; readonly mac: string }
  | { readonly kind: 'neigh'; readonly link: string; readonly address: string }
  | { readonly kind: 'route'; readonly link: string; readonly address: string };

/** Entries by their key, with what each leads to. */
export type EntryMap = Map<string, string>;

/** `dst` of a tunnel for a MAC. */
export const fdbKey = (link: string, mac: string) => `fdb ${link} ${mac}`;
/** MAC of a neighbour. */
export const neighKey = (link: string, address: string) => `neigh ${link} ${address}`;
/** Next hop, and after a space the source address if any. */
export const routeKey = (link: string, address: string) => `route ${link} ${address}`;

function parseKey(key: string): Entry {
  const [kind, link = '', subject = ''] = key.split(' ');
  if (kind === 'fdb') return { kind, link, mac: subject };
  return { kind: kind === 'route' ? kind : 'neigh', link, address: subject };
}

function putLine(entry: Entry, value: string): string {
  if (entry.kind === 'fdb') {
    return `fdb replace ${entry.mac} dev ${entry.link} dst ${value} self permanent`;
  }
  if (entry.kind === 'neigh') {
    return `neigh replace ${entry.address} lladdr ${value} dev ${entry.link} nud permanent`;
  }
  const [hop = '', source] = value.split(' ');
  const from = source === undefined ? '' : ` src ${source}`;
  return `route replace ${entry.address} via ${hop} dev ${entry.link} onlink${from} proto ${ROUTE_PROTOCOL}`;
}

function dropLine(entry: Entry, value: string): string {
  if (entry.kind === 'fdb') return `fdb del ${entry.mac} dev ${entry.link} dst ${value} self`;
  if (entry.kind === 'neigh') return `neigh del ${entry.address} dev ${entry.link}`;
  return `route del ${entry.address} dev ${entry.link} proto ${ROUTE_PROTOCOL}`;
}

type RawEntry = {
  mac?: string;
  dst?: string;
  ifname?: string;
  dev?: string;
  lladdr?: string;
  gateway?: string;
  prefsrc?: string;
  state?: string | string[];
};

/**
 * The entries of some links in one namespace, kept as they have to be: reads what is there once,
 * then writes what differs, in one batch a tool.
 */
export class Entries {
  readonly #exec: Exec;
  readonly #namespace: string | undefined;
  /** What the kernel holds as far as known; undefined: it has to be read first. */
  #held: EntryMap | undefined;

  constructor(exec: Exec, namespace?: string) {
    this.#exec = exec;
    this.#namespace = namespace;
  }

  /** The next update reads first. */
  forget(): void {
    this.#held = undefined;
  }

  /** Makes the entries of `links` those that are wanted. Returns whether any differed. */
  async update(links: readonly string[], wanted: EntryMap): Promise<boolean> {
    const put = await this.put(links, wanted);
    return (await this.drop(links, wanted)) || put;
  }

  /** As `update`, but what is not wanted any more stays until it is dropped. */
  async put(links: readonly string[], wanted: EntryMap): Promise<boolean> {
    const held = this.#held ?? (await this.#read(links));
    // A route needs its next hop: entries are put in the order in which they are wanted.
    const changed = [...wanted].filter(([key, value]) => held.get(key) !== value);
    return await this.#write(changed, putLine, new Map([...held, ...wanted]));
  }

  /** Removes the entries of `links` that are not wanted. Returns whether there were any. */
  async drop(links: readonly string[], wanted: EntryMap): Promise<boolean> {
    const held = this.#held ?? (await this.#read(links));
    const stale = [...held].filter(([key]) => !wanted.has(key));
    return await this.#write(stale, dropLine, new Map(wanted));
  }

  /** Returns whether there was anything to write; `result` is held afterwards. */
  async #write(
    entries: readonly [key: string, value: string][],
    line: (entry: Entry, value: string) => string,
    result: EntryMap,
  ): Promise<boolean> {
    const lines: Record<'ip' | 'bridge', string[]> = { ip: [], bridge: [] };
    for (const [key, value] of entries) {
      const entry = parseKey(key);
      lines[entry.kind === 'fdb' ? 'bridge' : 'ip'].push(line(entry, value));
    }
    this.#held = undefined;
    await this.#run('bridge', lines.bridge);
    await this.#run('ip', lines.ip);
    this.#held = result;
    return entries.length > 0;
  }

  #argv(tool: string, ...rest: string[]): string[] {
    return this.#namespace === undefined ? [tool, ...rest] : [tool, '-n', this.#namespace, ...rest];
  }

  async #run(tool: 'ip' | 'bridge', lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    if (tool === 'ip') {
      await new IpTool(this.#exec).run(lines, this.#namespace);
      return;
    }
    await must(this.#exec, this.#argv(tool, '-force', '-batch', '-'), {
      input: `${lines.join('\n')}\n`,
      timeoutMs: COMMAND_TIMEOUT_MS + lines.length * TIMEOUT_PER_LINE_MS,
    });
  }

  async #read(links: readonly string[]): Promise<EntryMap> {
    const found: EntryMap = new Map();
    for (const link of links) {
      for (const { mac, dst } of await this.#list('bridge', 'fdb', 'show', 'dev', link)) {
        if (mac !== undefined && dst !== undefined) found.set(fdbKey(link, mac), dst);
      }
      const neighbours = this.#list('ip', 'neigh', 'show', 'dev', link, 'nud', 'permanent');
      for (const { dst, lladdr } of await neighbours) {
        if (dst !== undefined && lladdr !== undefined) found.set(neighKey(link, dst), lladdr);
      }
      for (const family of ['-4', '-6']) {
        const filter = ['dev', link, 'proto', String(ROUTE_PROTOCOL)];
        const routes = this.#list('ip', family, 'route', 'show', ...filter);
        for (const { dst, gateway, prefsrc } of await routes) {
          if (dst === undefined || gateway === undefined) continue;
          const value = prefsrc === undefined ? gateway : `${gateway} ${prefsrc}`;
          found.set(routeKey(link, dst), value);
        }
      }
    }
    return found;
  }

  async #list(tool: 'ip' | 'bridge', ...args: string[]): Promise<RawEntry[]> {
    const text = await must(this.#exec, this.#argv(tool, '-j', ...args));
    // exempt(as): what iproute2 prints; every field is taken as perhaps missing
    return JSON.parse(text.trim() || '[]') as RawEntry[];
  }
}
