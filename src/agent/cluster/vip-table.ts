import { concat, type SetSpec, type TableContent, type TableSpec } from '../../kernel/nft-table.ts';
import type { VipIntent } from '../../model/cluster-intent.ts';
import { canonical, type Elements, familyOf, put } from '../plane/host-content.ts';
import { CLEAR_SLOT, MAX_TARGETS, REFUSE, SLOT_MARK } from '../plane/host-table.ts';

const OUT = `
dnat ip to ip daddr map @to4
dnat ip6 to ip6 daddr map @to6
ip daddr vmap @balance4
ip6 daddr vmap @balance6`;

const CLOSED = `
${CLEAR_SLOT}
ip daddr @closed4 jump refuse
ip6 daddr @closed6 jump refuse`;

function chainBody(name: string): string {
  const [, slots, family] = /^turn-(\d+)-([46])$/.exec(name) ?? [];
  const ip = family === '6' ? 'ip6' : 'ip';
  return [
    `meta mark set numgen inc mod ${slots} offset ${SLOT_MARK}`,
    `dnat ${ip} to ${ip} daddr . meta mark map @slot${family}`,
  ].join('\n');
}

/**
 * The table of one sandbox: its connections to a service's address go to one of the members. All
 * ports and protocols, and the client's own address: it is its own side that chooses.
 */
export function vipTable(name: string): TableSpec {
  const sets = ([4, 6] as const).flatMap((family): SetSpec[] => {
    const address = `ipv${family}_addr` as const;
    return [
      { name: `to${family}`, key: [address], value: [address] },
      { name: `balance${family}`, key: [address], value: ['verdict'] },
      { name: `slot${family}`, key: [address, 'mark'], value: [address] },
      { name: `closed${family}`, key: [address] },
    ];
  });
  return {
    name,
    sets,
    chains: [
      { name: 'refuse', body: REFUSE },
      { name: 'nat_out', body: `type nat hook output priority -105;${OUT}` },
      { name: 'closed_out', body: `type filter hook output priority -90;${CLOSED}` },
    ],
    chainOnDemand: chainBody,
  };
}

/** What the table of a sandbox holds that sees these addresses; of equal ones the first counts. */
export function vipContent(vips: readonly VipIntent[]): TableContent {
  const elements: Elements = new Map();
  const chains = new Set<string>();
  const seen = new Set<string>();
  for (const vip of vips) {
    const address = canonical(vip.address);
    if (seen.has(address)) continue;
    seen.add(address);
    const family = familyOf(address);
    const targets = vip.targets
      .filter((target) => familyOf(target) === family)
      .slice(0, MAX_TARGETS)
      .map(canonical);
    const [first] = targets;
    if (first === undefined) put(elements, `closed${family}`, address);
    else if (targets.length === 1) put(elements, `to${family}`, address, first);
    else {
      const chain = `turn-${targets.length}-${family}`;
      chains.add(chain);
      put(elements, `balance${family}`, address, `goto ${chain}`);
      for (const [slot, target] of targets.entries()) {
        put(elements, `slot${family}`, concat(address, SLOT_MARK + slot), target);
      }
    }
  }
  return { elements, chains };
}

/** Members of an address that are neither given new connections nor keep old ones any more. */
export function goneTargets(former: VipIntent, now: VipIntent | undefined): string[] {
  const kept = new Set([...(now?.targets ?? []), ...(now?.draining ?? [])]);
  return [...new Set([...former.targets, ...former.draining])].filter((one) => !kept.has(one));
}
