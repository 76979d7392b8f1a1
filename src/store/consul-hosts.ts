import { setTimeout as sleep } from 'node:timers/promises';
import type Consul from 'consul';
import { type Answer, QueryContext } from './consul-query.ts';
import type { HostWatch } from './hosts.ts';

/** How long an agent holds a query when nothing changes. */
const WAIT_S = 5;
const QUERY_MS = (WAIT_S + 3) * 1000;
const CALL_MS = 3000;
/** Between two queries at least: checks of others change as well. */
const PAUSE_MS = 200;
const RETRY_MS = 2000;
/** The check of an agent that its gossip keeps. Source: Consul, `serfHealth`. */
const GOSSIP_CHECK = 'serfHealth';

type Check = { readonly Node: string; readonly CheckID: string };
type Node = { readonly Node: string; readonly Address: string };

/** Consul's gossip: an agent on a host that answers no other one is failed within seconds. */
export class ConsulHosts implements HostWatch {
  readonly #agent: () => Consul;

  /** `agent`: who is asked at present. */
  constructor(agent: () => Consul) {
    this.#agent = agent;
  }

  watch(listener: (lost: ReadonlySet<string>) => void): () => void {
    const ending = new AbortController();
    const context = new QueryContext();
    void this.#follow(context, ending.signal, listener);
    return () => {
      ending.abort();
      context.emit('cancel');
    };
  }

  async #follow(
    context: QueryContext,
    signal: AbortSignal,
    listener: (lost: ReadonlySet<string>) => void,
  ): Promise<void> {
    let told = '';
    const tell = (lost: readonly string[]) => {
      const text = lost.toSorted().join();
      if (signal.aborted || text === told) return;
      told = text;
      listener(new Set(lost));
    };
    let index = '0';
    while (!signal.aborted) {
      try {
        const { nodes, next } = await this.#failed(index, context);
        tell(nodes.length === 0 ? [] : await this.#addresses(new Set(nodes)));
        // An index that goes back tells of a restored server. Source: Consul, blocking queries.
        index = Number(next) >= Number(index) ? next : '0';
        await sleep(PAUSE_MS);
      } catch {
        tell([]);
        index = '0';
        await sleep(RETRY_MS);
      }
    }
  }

  /** Names of Consul's nodes whose agent is lost. */
  async #failed(index: string, ctx: QueryContext): Promise<{ nodes: string[]; next: string }> {
    const query = { state: 'critical', index, wait: `${WAIT_S}s`, timeout: QUERY_MS, ctx };
    // exempt(as): the client's types know neither `ctx` nor what it changes about the result
    const result = (await this.#agent().health.state(query as never)) as unknown;
    const [answer, checks] = result as [Answer, Check[] | undefined];
    const nodes = (checks ?? []).filter(({ CheckID }) => CheckID === GOSSIP_CHECK);
    return { nodes: nodes.map(({ Node }) => Node), next: answer.headers['x-consul-index'] ?? '0' };
  }

  async #addresses(names: ReadonlySet<string>): Promise<string[]> {
    // exempt(as): the client's types do not know the answer
    const all = (await this.#agent().catalog.node.list({
      timeout: CALL_MS,
    } as never)) as unknown as Node[];
    return all.flatMap(({ Node, Address }) => (names.has(Node) ? Address : []));
  }
}
