import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { must } from '../../kernel/exec.ts';
import { execIn } from '../../kernel/netns.ts';
import type { NameRecord, SandboxIntent } from '../../model/host-intent.ts';
import type { SandboxServices } from '../plane/host-plane.ts';
import type { Change, IntentStore } from '../plane/intent-store.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';
import {
  RESOLVER_ADDRESS,
  type ResolvedSandbox,
  type ResolverAnswer,
  type ResolverOrder,
  type ResolverPorts,
} from './resolver-orders.ts';
import { ResolverProcess } from './resolver-process.ts';

/** Processes that are started for one order. */
const MAX_TRIES = 2;
/** How long after its start one that ended is followed by another at the earliest. */
const RESTART_MS = 1000;
const WIDTH = 4;

/** Leads the well-known port to the sockets, and leaves port 53 itself to the sandbox. */
function redirectTable(name: string, ports: ResolverPorts): string {
  return `table ip ${name}
delete table ip ${name}
table ip ${name} {
  chain out {
    type nat hook output priority -110;
    ip daddr ${RESOLVER_ADDRESS} udp dport 53 dnat to ${RESOLVER_ADDRESS}:${ports.udp}
    ip daddr ${RESOLVER_ADDRESS} tcp dport 53 dnat to ${RESOLVER_ADDRESS}:${ports.tcp}
  }
}
`;
}

/** A sandbox as it was told; `outside`: whether one of its networks leads there. */
type Told = { readonly sandbox: SandboxIntent; readonly outside: boolean };

/** What a process has been told, by namespace and by network. */
class Knowledge {
  readonly sandboxes = new Map<string, Told>();
  names: ReadonlyMap<string, readonly NameRecord[]> = new Map();
}

type News = Omit<ResolverOrder, 'id'>;

function resolved({ sandbox, outside }: Told): ResolvedSandbox {
  const { servers = [], records = [], ndots } = sandbox.resolver ?? {};
  return {
    networks: sandbox.attachments.map(({ network }) => network),
    records,
    servers: outside ? servers : [],
    ndots,
  };
}

/**
 * The names of all sandboxes, answered by a process that outlives this one. Every agent starts its
 * own, which takes the sockets over and then ends the one of the agent before.
 */
export class ResolverKeeper implements SandboxServices {
  readonly #tools: AgentTools;
  readonly #folder: string;
  #process: ResolverProcess | undefined;
  /** Why the last one has ended. */
  #fault = '';
  #known = new Knowledge();
  readonly #gone = new Set<string>();
  /** The redirects that are loaded, by namespace. */
  readonly #tables = new Map<string, string>();
  #last: Promise<unknown> = Promise.resolve();
  #revival: Timer | undefined;
  #intent: IntentStore | undefined;

  constructor(tools: AgentTools) {
    this.#tools = tools;
    this.#folder = join(tools.execRoot, 'resolvers');
    mkdirSync(this.#folder, { recursive: true });
  }

  update(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    this.#intent = intent;
    const result = this.#last.then(() => this.#bring(intent, change));
    this.#last = result;
    return result;
  }

  async #bring(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    const gone = [...this.#gone];
    this.#gone.clear();
    for (const netns of gone) this.#tables.delete(netns);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const fresh = this.#process === undefined;
      this.#process ??= this.#start();
      const news = this.#difference(intent, fresh ? undefined : change, gone);
      const none = Object.values(news).every((parts) => parts.length === 0);
      // Where all is looked at, it has to answer, too: one that stands still is replaced.
      if (none && change && !fresh) return new Map();
      const answer = this.#process.order(news);
      // Nobody to answer to: nobody waits.
      if (this.#known.sandboxes.size === 0) return new Map();
      const outcome = await answer;
      if (outcome) return this.#settle(outcome);
    }
    const all = [...intent.sandboxes.values()].filter(({ resolver }) => resolver !== undefined);
    return new Map(all.map(({ id }) => [id, complaint(`its process ${this.#fault}`)]));
  }

  /** What is new to the process; it counts as told from now on. */
  #difference(intent: IntentStore, change: Change | undefined, gone: readonly string[]): News {
    const known = this.#known;
    const wanted = new Map<string, Told>();
    for (const sandbox of intent.sandboxes.values()) {
      if (!sandbox.resolver) continue;
      const outside = sandbox.attachments.some(
        ({ network }) => intent.networks.get(network)?.internal === false,
      );
      wanted.set(this.#tools.naming.netns(sandbox.id), { sandbox, outside });
    }
    const left = [...known.sandboxes.keys()].filter((netns) => !wanted.has(netns));
    for (const netns of left) known.sandboxes.delete(netns);
    const sandboxes = [...wanted].filter(([netns, { sandbox, outside }]) => {
      const told = known.sandboxes.get(netns);
      // What could not be set up is tried again by a change of its own, or where all is looked at.
      if (!told) return !change || change.sandboxes.has(sandbox.id);
      return told.sandbox !== sandbox || told.outside !== outside;
    });
    for (const [netns, told] of sandboxes) known.sandboxes.set(netns, told);
    const names: [string, readonly NameRecord[]][] = [
      ...[...intent.names].filter(([network, records]) => known.names.get(network) !== records),
      ...[...known.names.keys()].flatMap((network): [string, readonly NameRecord[]][] =>
        intent.names.has(network) ? [] : [[network, []]],
      ),
    ];
    known.names = new Map(intent.names);
    return {
      sandboxes: sandboxes.map(([netns, told]) => [netns, resolved(told)]),
      gone: [...new Set([...gone, ...left])],
      names,
    };
  }

  /** Leads to what is served now; returns what is not, by sandbox. */
  async #settle({ ports, failures }: ResolverAnswer): Promise<Map<string, string>> {
    const { native, exec, naming } = this.#tools;
    const failed = new Map(failures);
    await eachOf(ports, WIDTH, async ([netns, own]) => {
      const table = redirectTable(`${naming.table}_resolver`, own);
      if (this.#tables.get(netns) === table) return;
      try {
        await must(execIn(exec, native, netns), ['nft', '-f', '-'], { input: table });
        this.#tables.set(netns, table);
      } catch (error) {
        failed.set(netns, errorText(error));
      }
    });
    return new Map(
      [...failed].flatMap(([netns, message]): [string, string][] => {
        const id = this.#known.sandboxes.get(netns)?.sandbox.id;
        this.#known.sandboxes.delete(netns);
        return id === undefined ? [] : [[id, complaint(message)]];
      }),
    );
  }

  #start(): ResolverProcess {
    const { native, clock, logger } = this.#tools;
    const argv = [this.#folder, ...(native ? [] : ['--without-koffi'])];
    const startedAt = clock.now();
    return new ResolverProcess(argv, clock, (why) => {
      logger.warn('the resolver is started again', { why });
      this.#fault = why;
      this.#process = undefined;
      this.#known = new Knowledge();
      this.#revival?.cancel();
      this.#revival = clock.after(startedAt + RESTART_MS - clock.now(), async () => {
        const intent = this.#intent;
        if (!intent || this.#process) return;
        for (const message of (await this.update(intent, undefined)).values()) {
          logger.warn(message);
        }
      });
    });
  }

  /** It is told with the next update, which follows. */
  async release(netns: string): Promise<void> {
    this.#gone.add(netns);
  }

  /** Leaves the process to the next agent. */
  close(): void {
    this.#revival?.cancel();
    this.#process?.leave();
  }
}

function complaint(why: string): string {
  return `the resolver cannot be set up: ${why}`;
}
