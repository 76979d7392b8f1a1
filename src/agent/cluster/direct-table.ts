import { concat, hex, quoted } from '../../kernel/nft-table.ts';
import type { DirectForward, MeshIntent } from '../../model/cluster-intent.ts';
import { canonical, familyOf } from '../plane/host-content.ts';
import { HERE_MARK, MAX_TARGETS, SLOT_MARK } from '../plane/host-table.ts';
import { hopAddress, nodeMark, nodeNumbers } from './mesh-table.ts';

/** Flows whose host is remembered, and how long after their last packet. */
const MAX_FLOWS = 262_144;
const FLOW_TIMEOUT = '5m';
/** Of hashes: a loaded table has to choose as the one before it. */
const SEED = 1;

const PORT = 'meta l4proto . th dport';
const FAMILIES = [4, 6] as const;
type Family = (typeof FAMILIES)[number];

const ipOf = (family: Family) => (family === 4 ? 'ip' : 'ip6');

/** Chain that chooses one of so many slots, by a client's address or by its address and port. */
type Choice = { readonly bySource: boolean; readonly slots: number };

const choiceName = ({ bySource, slots }: Choice, family: Family) =>
  `${bySource ? 'source' : 'flow'}-${slots}-${family}`;

/** What tells flows apart; the addresses as a hash, since keys of long addresses do not fit. */
function flowKey(family: Family, addresses: string): string {
  return `${addresses || addressHash(family)} . meta l4proto . th sport . th dport`;
}

function addressHash(family: Family): string {
  const ip = ipOf(family);
  return `jhash ${ip} saddr . ${ip} daddr mod 0xffffffff seed ${SEED}`;
}

function choiceChain(choice: Choice, family: Family): string {
  const client = `${ipOf(family)} saddr${choice.bySource ? '' : ' . th sport'}`;
  const flow = `{ ${flowKey(family, '')} : meta mark }`;
  return `chain ${choiceName(choice, family)} {
    meta mark set jhash ${client} mod ${choice.slots} seed ${SEED} offset ${hex(SLOT_MARK)}
    meta mark set ${PORT} . meta mark map @slots${family}
    delete @flows${family} ${flow}
    update @flows${family} ${flow}
    jump lead${family}
  }`;
}

// The opening of a connection chooses anew; what is not known any more is led where it would begin.
function familyChains(family: Family, link: string): string {
  const ip = ipOf(family);
  const known = flowKey(family, 'meta mark');
  return `chain lead${family} {
    meta mark ${hex(HERE_MARK)} accept
    fwd ${ip} to meta mark map @hops${family} device ${quoted(link)}
  }
  chain take${family} {
    ${PORT} != @ports${family} return
    ${ip} saddr @hosts${family} return
    fib daddr type != local return
    tcp flags & (syn | ack) == syn ${PORT} vmap @choices${family}
    meta mark set ${addressHash(family)}
    meta mark set ${known} map @flows${family} update @flows${family} { ${flowKey(family, '')} : meta mark } jump lead${family}
    ${PORT} vmap @choices${family}
  }`;
}

function familySets(family: Family): string {
  const address = `ipv${family}_addr`;
  const port = 'inet_proto . inet_service';
  const remembered = `size ${MAX_FLOWS}; flags dynamic,timeout; timeout ${FLOW_TIMEOUT};`;
  return `map flows${family} { type mark . ${port} . inet_service : mark; ${remembered} }
  map hops${family} { type mark : ${address}; }
  map slots${family} { type ${port} . mark : mark; }
  map choices${family} { type ${port} : verdict; }
  set ports${family} { type ${port}; }
  set hosts${family} { type ${address}; }`;
}

function marksOf(
  { hosts, targets }: DirectForward,
  numbers: ReadonlyMap<string, number>,
  family: Family,
): string[] {
  const elsewhere = hosts.flatMap((id) => numbers.get(id) ?? []).map(nodeMark);
  const here = targets.filter(({ address }) => familyOf(address) === family);
  return [...elsewhere, ...here.map(() => HERE_MARK)].slice(0, MAX_TARGETS).map(hex);
}

/** What a table holds of one family: by set its elements, and the chains that they lead to. */
function familyContent(mesh: MeshIntent, family: Family) {
  const numbers = nodeNumbers(mesh.nodes.map(({ id }) => id));
  const chains = new Map<string, string>();
  const elements: Record<'hops' | 'slots' | 'choices' | 'ports' | 'hosts', string[]> = {
    hops: [...numbers.values()].map((one) => `${hex(nodeMark(one))} : ${hopAddress(one, family)}`),
    ...{ slots: [], choices: [], ports: [] },
    // Led on, their own requests would come back to them and look like forged ones.
    hosts: [
      ...new Set(
        mesh.nodes
          .flatMap(({ addresses, tunnel }) => [...addresses, tunnel])
          .filter((address) => familyOf(address) === family)
          .map(canonical),
      ),
    ],
  };
  for (const forward of mesh.direct) {
    const marks = marksOf(forward, numbers, family);
    if (marks.length === 0) continue;
    const choice = { bySource: forward.balance === 'source-hash', slots: marks.length };
    const key = concat(forward.transport, forward.port);
    chains.set(choiceName(choice, family), choiceChain(choice, family));
    elements.ports.push(key);
    elements.choices.push(`${key} : goto ${choiceName(choice, family)}`);
    for (const [slot, mark] of marks.entries()) {
      elements.slots.push(`${concat(key, hex(SLOT_MARK + slot))} : ${mark}`);
    }
  }
  return { chains: [...chains.values()], elements };
}

/**
 * One transaction that has the packets of clients outside, as they come in by `devices`, led to the
 * hosts of the tasks as they are. Nothing here sees the answers, so the choice for a flow is kept here
 * and not in connection tracking; what is kept outlasts the transaction.
 */
export function directTable(
  name: string,
  link: string,
  devices: readonly string[],
  mesh: MeshIntent,
): string {
  const table = `netdev ${name}`;
  const parts = FAMILIES.map((family) => ({ family, ...familyContent(mesh, family) }));
  const sets = parts.flatMap(({ family, elements }) =>
    Object.entries(elements).map(([set, texts]) => ({ set: `${set}${family}`, texts })),
  );
  const hooks = devices.map((device) => {
    const chain = `ingress-${Buffer.from(device).toString('hex')}`;
    return `chain ${chain} {
    type filter hook ingress device ${quoted(device)} priority -500;
    meta protocol ip jump take4
    meta protocol ip6 jump take6
  }`;
  });
  // Rules first: a hook of a device that is none of ours any more stays, and does nothing.
  return [
    `table ${table} {`,
    ...FAMILIES.map(familySets),
    '}',
    `flush table ${table}`,
    ...sets.map(
      ({ set }) => `flush ${/^(?:ports|hosts)/.test(set) ? 'set' : 'map'} ${table} ${set}`,
    ),
    `table ${table} {`,
    ...FAMILIES.map((family) => familyChains(family, link)),
    ...parts.flatMap(({ chains }) => chains),
    ...hooks,
    '}',
    ...sets.flatMap(({ set, texts }) =>
      texts.length === 0 ? [] : [`add element ${table} ${set} { ${texts.join(', ')} }`],
    ),
    '',
  ].join('\n');
}
