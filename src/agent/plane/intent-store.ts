import { isDeepStrictEqual } from 'node:util';
import type {
  ForwardIntent,
  HostDelta,
  HostIntent,
  NameRecord,
  NetworkIntent,
  SandboxIntent,
} from '../../model/host-intent.ts';

/** Which objects a change touched; what went is kept as it was. */
export type Change = {
  /** Whether any network was put or went. */
  readonly networks: boolean;
  readonly sandboxes: ReadonlySet<string>;
  /** Attachments that have to be made anew: their link, MAC or addresses are others now. */
  readonly remade: ReadonlySet<string>;
  /** Sandboxes that lost their default route. */
  readonly gatewayless: ReadonlySet<string>;
  /** Forwards as they were before they changed or went. */
  readonly formerForwards: readonly ForwardIntent[];
  readonly newForwards: readonly ForwardIntent[];
};

const hasGateway = (sandbox: SandboxIntent) =>
  sandbox.attachments.some(({ gateways }) => gateways.length > 0);

/** What the host has to show, by id. */
export class IntentStore {
  readonly networks = new Map<string, NetworkIntent>();
  readonly sandboxes = new Map<string, SandboxIntent>();
  readonly forwards = new Map<string, ForwardIntent>();
  /** By network. */
  readonly names = new Map<string, NameRecord[]>();

  /** Takes a whole intent in place of what was there. */
  replace(intent: HostIntent): Change {
    const gone = (there: ReadonlyMap<string, unknown>, wanted: readonly { id: string }[]) => {
      const ids = new Set(wanted.map(({ id }) => id));
      return [...there.keys()].filter((id) => !ids.has(id));
    };
    return this.merge({
      put: intent,
      remove: {
        networks: gone(this.networks, intent.networks),
        sandboxes: gone(this.sandboxes, intent.sandboxes),
        forwards: gone(this.forwards, intent.forwards),
        names: [...this.names.keys()],
      },
    });
  }

  merge(delta: HostDelta): Change {
    const { put, remove } = delta;
    const change = {
      networks: (put.networks?.length ?? 0) + (remove.networks?.length ?? 0) > 0,
      sandboxes: new Set<string>(),
      remade: new Set<string>(),
      gatewayless: new Set<string>(),
      formerForwards: [] as ForwardIntent[],
      newForwards: [] as ForwardIntent[],
    };
    for (const id of delta.remove.networks ?? []) this.networks.delete(id);
    for (const id of delta.remove.sandboxes ?? []) {
      this.sandboxes.delete(id);
      change.sandboxes.add(id);
    }
    for (const network of delta.put.networks ?? []) {
      this.networks.set(network.id, network);
      for (const sandbox of this.sandboxes.values()) {
        if (sandbox.attachments.some((one) => one.network === network.id)) {
          change.sandboxes.add(sandbox.id);
        }
      }
    }
    for (const sandbox of delta.put.sandboxes ?? []) this.#putSandbox(sandbox, change);
    this.#mergeForwards(delta, change);
    this.#mergeNames(delta);
    return change;
  }

  #putSandbox(
    sandbox: SandboxIntent,
    change: { sandboxes: Set<string>; remade: Set<string>; gatewayless: Set<string> },
  ): void {
    const former = this.sandboxes.get(sandbox.id);
    this.sandboxes.set(sandbox.id, sandbox);
    change.sandboxes.add(sandbox.id);
    if (!former) return;
    if (hasGateway(former) && !hasGateway(sandbox)) change.gatewayless.add(sandbox.id);
    for (const attachment of sandbox.attachments) {
      const old = former.attachments.find(({ id }) => id === attachment.id);
      const identity = ({ link, mac, addresses, network }: typeof attachment) => [
        link,
        mac,
        network,
        addresses,
      ];
      if (old && !isDeepStrictEqual(identity(old), identity(attachment))) {
        change.remade.add(attachment.id);
      }
    }
  }

  #mergeForwards(
    delta: HostDelta,
    change: { formerForwards: ForwardIntent[]; newForwards: ForwardIntent[] },
  ): void {
    for (const id of delta.remove.forwards ?? []) {
      const former = this.forwards.get(id);
      if (former) change.formerForwards.push(former);
      this.forwards.delete(id);
    }
    for (const forward of delta.put.forwards ?? []) {
      const former = this.forwards.get(forward.id);
      this.forwards.set(forward.id, forward);
      if (former && isDeepStrictEqual(former, forward)) continue;
      if (former) change.formerForwards.push(former);
      change.newForwards.push(forward);
    }
  }

  #mergeNames(delta: HostDelta): void {
    const records = delta.put.names ?? [];
    for (const id of delta.remove.names ?? []) this.names.delete(id);
    for (const network of new Set(records.map((record) => record.network))) {
      this.names.set(
        network,
        records.filter((record) => record.network === network),
      );
    }
  }
}
