import { type ClusterAttachment, KIND } from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import type { AddressLedger, Leases } from './address-ledger.ts';
import { Drafts } from './drafts.ts';
import type { ClusterView } from './view.ts';

/** Gives containers on attachable networks their addresses, the ones that they ask for first. */
export class Attached {
  readonly #addresses: AddressLedger;
  readonly #drafts = new Drafts<ClusterAttachment>(KIND.attachment);
  readonly #waiting = new Set<string>();

  constructor(addresses: AddressLedger) {
    this.#addresses = addresses;
  }

  /** Takes over what the state says of one; what was planned for it stands. */
  settle(view: ClusterView, id: string): void {
    const found = view.attachments.get(id);
    if (this.#drafts.of(id, found)) return;
    const { network = '', address = '', address6 = '', error = '' } = found?.value ?? {};
    const lease = { address, address6: address6 === '' ? undefined : address6 };
    const leases: Leases = new Map(address === '' ? [] : [[network, lease]]);
    this.#addresses.settle(id, leases, 'task');
    if (found && address === '' && error === '') this.#waiting.add(id);
    else this.#waiting.delete(id);
  }

  /** `faultOf`: why a network that is there has no address; undefined: it has no subnet yet. */
  serve(view: ClusterView, faultOf: (network: string) => string | undefined): Change[] {
    return [...this.#waiting].flatMap((id) => {
      const found = view.attachments.get(id);
      const next =
        found && (this.#drafts.of(id, found) ?? this.#address(view, found.value, faultOf));
      return next ? [this.#drafts.put(found.version, next)] : [];
    });
  }

  /** Undefined: it waits. */
  #address(
    { networks }: ClusterView,
    attachment: ClusterAttachment,
    faultOf: (network: string) => string | undefined,
  ): ClusterAttachment | undefined {
    const { id, network, ipv4, ipv6 } = attachment;
    if (!networks.has(network)) return { ...attachment, error: `network ${network} not found` };
    const wanted = [ipv4, ipv6].flatMap((one) => one ?? []);
    const lease = this.#addresses.ask(id, network, wanted);
    if (typeof lease === 'object') {
      return { ...attachment, address: lease.address, address6: lease.address6 ?? '' };
    }
    const error = lease ?? faultOf(network);
    return error === undefined ? undefined : { ...attachment, error };
  }
}
