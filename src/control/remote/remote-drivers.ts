import type { Clock } from '../../base/clock.ts';
import { SluiceError } from '../../base/errors.ts';
import { forbidden, invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import type { Network } from '../../model/network.ts';
import { IpamDrivers } from '../../plugin/ipam-driver.ts';
import { NetworkDrivers } from '../../plugin/network-driver.ts';
import { PluginHost, type PluginOptions } from '../../plugin/plugin-host.ts';
import type { EmbeddedStore } from '../../store/embedded-store.ts';
import { type NetworkRequest, NOT_A_MANAGER } from '../network-request.ts';
import type { Registry } from '../registry.ts';
import { isRemote, isRemoteIpam } from '../topology.ts';
import { type Claim, Debts } from './debts.ts';
import { networkClaims } from './remote-networks.ts';

type Deps = {
  readonly store: EmbeddedStore;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly options: PluginOptions;
};

/** The third-party drivers of this host, and what they hold for it. */
export class RemoteDrivers {
  readonly networks: NetworkDrivers;
  readonly ipam: IpamDrivers;
  readonly debts: Debts;
  readonly #registry: Registry;
  readonly #plugins: PluginHost;

  constructor({ store, registry, clock, logger, options }: Deps) {
    this.#registry = registry;
    this.#plugins = new PluginHost(options);
    this.networks = new NetworkDrivers(this.#plugins);
    this.ipam = new IpamDrivers(this.#plugins);
    this.debts = new Debts({ store, networks: this.networks, ipam: this.ipam, clock, logger });
  }

  /** Names of the network drivers that were used and are still there. */
  get driverNames(): string[] {
    return this.#plugins.names('NetworkDriver');
  }

  /** Gives back what an earlier daemon left, and what drivers missed. */
  start(): void {
    for (const claim of this.debts.inherited) {
      const network = claim.kind === 'network' && this.#registry.findNetwork(claim.network);
      if (network) this.#dropHalf(network);
    }
    this.debts.start((claim) => this.#inUse(claim));
  }

  /** Throws when a third-party driver that is asked for cannot serve. */
  async check({ driver, ipamDriver }: NetworkRequest): Promise<void> {
    if (isRemote({ driver })) {
      await this.#plugins.need(driver, 'NetworkDriver');
      const { scope } = await this.networks.capabilities(driver);
      if (scope === 'swarm') throw forbidden(NOT_A_MANAGER);
    }
    if (!isRemoteIpam(ipamDriver)) return;
    try {
      await this.#plugins.need(ipamDriver, 'IpamDriver');
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'E_OBJECT_NOT_FOUND') throw error;
      throw invalid(`invalid ipam driver: "${ipamDriver}"`);
    }
  }

  /** A network that was not made or not removed to the end is nobody's. */
  #dropHalf(network: Network): void {
    if (this.#registry.attachedTo(network.id).length > 0) return;
    const noted = new Set(this.debts.inherited.map((claim) => JSON.stringify(claim)));
    const claims = networkClaims(network).filter((one) => !noted.has(JSON.stringify(one)));
    this.debts.owe(claims);
    this.#registry.dropNetwork(network.id);
  }

  #inUse(claim: Claim): boolean {
    const networks = [...this.#registry.networks];
    if (claim.kind === 'endpoint') return this.#endpoints().has(claim.endpoint);
    if (claim.kind === 'network') return networks.some(({ id }) => id === claim.network);
    const same = JSON.stringify(claim);
    if (claim.kind === 'address' && this.#leases().has(`${claim.pool} ${claim.address}`)) {
      return true;
    }
    return networks.flatMap(networkClaims).some((one) => JSON.stringify(one) === same);
  }

  *#active() {
    for (const { attachments } of this.#registry.containers) {
      for (const { active } of attachments) if (active) yield active;
    }
  }

  #endpoints(): Set<string> {
    return new Set([...this.#active()].map(({ id }) => id));
  }

  #leases(): Set<string> {
    const leases = [...this.#active()].flatMap(({ ipv4, ipv6 }) => [ipv4 ?? [], ipv6 ?? []].flat());
    return new Set(leases.map(({ pool, address }) => `${pool} ${address}`));
  }
}
