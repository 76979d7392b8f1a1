import type Consul from 'consul';
import type { CatalogEntry, ServiceCatalog } from './catalog.ts';

/** Consul takes no larger transaction. Source: Consul, `txn_max_ops`. */
const MAX_OPERATIONS = 64;
const CALL_MS = 3000;
/** Tells our nodes in the catalog from others'. */
const OWNER_META = 'sluice-cluster';

type Operations = (operations: readonly unknown[], options: unknown) => Promise<unknown>;
type Node = { readonly Node: string; readonly Address: string };
type Service = {
  readonly ID: string;
  readonly Service: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags: readonly string[];
  readonly Meta: Readonly<Record<string, string>>;
};

function serviceOf({ id, service, address, port, tags, meta }: CatalogEntry): Service {
  return { ID: id, Service: service, Address: address, Port: port, Tags: tags, Meta: meta };
}

const sortedEntries = (meta: Service['Meta']) => Object.entries(meta ?? {}).sort();

function same(a: Service, b: Service): boolean {
  const text = ({ Service: name, Address, Port, Tags, Meta }: Service) =>
    JSON.stringify([name, Address, Port, Tags, sortedEntries(Meta)]);
  return text(a) === text(b);
}

/** Consul's catalog: hosts as external nodes, which no agent of Consul looks after. */
export class ConsulCatalog implements ServiceCatalog {
  readonly #agent: () => Consul;

  /** `agent`: who is asked at present. */
  constructor(agent: () => Consul) {
    this.#agent = agent;
  }

  async replace(owner: string, entries: readonly CatalogEntry[]): Promise<void> {
    const wanted = Map.groupBy(entries, ({ node }) => node.name);
    const there = new Map((await this.#nodes(owner)).map((node) => [node.Node, node.Address]));
    const operations: unknown[] = [];
    for (const [name, members] of wanted) {
      const address = members[0]?.node.address ?? '';
      if (there.get(name) !== address) operations.push(nodeSet(name, address, owner));
      const shown = there.has(name) ? await this.#services(name) : new Map<string, Service>();
      for (const entry of members) {
        const before = shown.get(entry.id);
        const next = serviceOf(entry);
        shown.delete(entry.id);
        if (!before || !same(before, next)) operations.push(serviceOrder('set', name, next));
      }
      operations.push(...[...shown.values()].map((one) => serviceOrder('delete', name, one)));
    }
    // With a node everything on it goes.
    const gone = [...there.keys()].filter((name) => !wanted.has(name));
    operations.push(...gone.map((name) => ({ Node: { Verb: 'delete', Node: { Node: name } } })));
    for (let at = 0; at < operations.length; at += MAX_OPERATIONS) {
      await this.#write(operations.slice(at, at + MAX_OPERATIONS));
    }
  }

  async #nodes(owner: string): Promise<Node[]> {
    const query = { 'node-meta': [`${OWNER_META}:${owner}`], timeout: CALL_MS };
    // exempt(as): the client's types know neither the option nor the answer
    return (await this.#agent().catalog.node.list(query as never)) as unknown as Node[];
  }

  async #services(node: string): Promise<Map<string, Service>> {
    const answer = await this.#agent().catalog.node.services({ node, timeout: CALL_MS } as never);
    // exempt(as): the shape is the documented one; null when the node went meanwhile
    const { Services } = (answer ?? {}) as { Services?: Record<string, Service> };
    return new Map(Object.values(Services ?? {}).map((one) => [one.ID, one]));
  }

  async #write(operations: readonly unknown[]): Promise<void> {
    const { transaction } = this.#agent();
    // exempt(as): the client's types know key-value operations only
    const run = transaction.create.bind(transaction) as unknown as Operations;
    await run(operations, { timeout: CALL_MS });
  }
}

function nodeSet(name: string, address: string, owner: string) {
  const Meta = { 'external-node': 'true', [OWNER_META]: owner };
  return { Node: { Verb: 'set', Node: { Node: name, Address: address, Meta } } };
}

function serviceOrder(verb: 'set' | 'delete', node: string, service: Service) {
  return { Service: { Verb: verb, Node: node, Service: service } };
}
