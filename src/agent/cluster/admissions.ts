import { concat, type SetSpec, type TableContent, type TableSpec } from '../../kernel/nft-table.ts';
import { bare } from '../../model/address.ts';
import type { AdmissionIntent } from '../../model/cluster-intent.ts';
import type { SandboxIntent } from '../../model/host-intent.ts';
import { canonical, type Elements, familyOf, put } from '../plane/host-content.ts';
import type { SandboxServices } from '../plane/host-plane.ts';
import { REFUSE } from '../plane/host-table.ts';
import type { Change, IntentStore } from '../plane/intent-store.ts';
import type { AgentTools } from '../plane/tools.ts';
import { SandboxTables } from './sandbox-tables.ts';

// A member that is guarded still answers who asks for its MAC. Source: RFC 4861 section 4.3
const INPUT = `
type filter hook input priority -5;
ct state established,related accept
icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
ip daddr @guarded4 ip daddr . ip saddr != @admitted4 jump refuse
ip6 daddr @guarded6 ip6 daddr . ip6 saddr != @admitted6 jump refuse`;

/** The table of one sandbox: who may begin connections to which of its addresses. */
function admissionTable(name: string): TableSpec {
  const sets = ([4, 6] as const).flatMap((family): SetSpec[] => {
    const address = `ipv${family}_addr` as const;
    return [
      { name: `guarded${family}`, key: [address] },
      { name: `admitted${family}`, key: [address, address] },
    ];
  });
  return {
    name,
    sets,
    chains: [
      { name: 'refuse', body: REFUSE },
      { name: 'in', body: INPUT },
    ],
    chainOnDemand: (chain) => {
      throw new RangeError(`no chain ${chain} is made on demand`);
    },
  };
}

type ByMember = ReadonlyMap<string, AdmissionIntent>;

const memberKey = (network: string, address: string) => `${network} ${canonical(bare(address))}`;

function admissionContent({ attachments }: SandboxIntent, all: ByMember): TableContent {
  const elements: Elements = new Map();
  for (const { network, addresses } of attachments) {
    for (const text of addresses) {
      const address = canonical(bare(text));
      const admission = all.get(memberKey(network, text));
      if (!admission) continue;
      const family = familyOf(address);
      put(elements, `guarded${family}`, address);
      for (const source of admission.sources) {
        if (familyOf(source) !== family) continue;
        put(elements, `admitted${family}`, concat(address, canonical(source)));
      }
    }
  }
  return { elements, chains: new Set() };
}

/** Who may reach the members of overlays that are not open to everybody there. */
export class Admissions implements SandboxServices {
  readonly #tables: SandboxTables;
  #byMember: ByMember = new Map();

  constructor(tools: AgentTools) {
    const spec = admissionTable(`${tools.naming.table}-policy`);
    const content = (sandbox: SandboxIntent) => admissionContent(sandbox, this.#byMember);
    this.#tables = new SandboxTables(tools, spec, 'its network policy is not in force', content);
  }

  /** Takes all of them in place of those before; returns failures by sandbox. */
  async replace(
    admissions: readonly AdmissionIntent[],
    whole: boolean,
  ): Promise<Map<string, string>> {
    const former = this.#byMember;
    this.#byMember = new Map(
      admissions.map((one) => [memberKey(one.network, one.member), one] as const),
    );
    const text = (all: ByMember, key: string) => all.get(key)?.sources.join(' ');
    const differs = (key: string) => text(former, key) !== text(this.#byMember, key);
    const touched = ({ attachments }: SandboxIntent) =>
      attachments.some(({ network, addresses }) =>
        addresses.some((address) => differs(memberKey(network, address))),
      );
    return await this.#tables.load(
      this.#tables.those((one) => whole || touched(one)),
      whole,
    );
  }

  update(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    return this.#tables.update(intent, change);
  }

  async release(netns: string): Promise<void> {
    this.#tables.release(netns);
  }

  close(): void {}
}
