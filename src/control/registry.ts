import { notFound } from '../base/faults.ts';
import { NetworkAddresses } from '../ipam/network-addresses.ts';
import type { Container } from '../model/container.ts';
import type { Network } from '../model/network.ts';
import type { Volume } from '../model/volume.ts';
import type { Change, EmbeddedStore } from '../store/embedded-store.ts';
import { lookUp } from './lookup.ts';

/** Names of the networks that are always there. */
export const PREDEFINED = ['bridge', 'host', 'none'] as const;

export function isPredefined(name: string): boolean {
  return PREDEFINED.some((one) => one === name);
}

/**
 * Networks, containers and volumes of this host, in memory and in the store at once. It alone writes
 * them; values are replaced, never changed.
 */
export class Registry {
  readonly #store: EmbeddedStore;
  readonly #networks = new Map<string, Network>();
  readonly #containers = new Map<string, Container>();
  readonly #volumes = new Map<string, Volume>();
  readonly #addresses = new Map<string, NetworkAddresses>();

  constructor(store: EmbeddedStore) {
    this.#store = store;
    // exempt(as): the store holds what this class wrote
    for (const { value } of store.list('container')) {
      const container = value as Container;
      this.#containers.set(container.id, container);
    }
    for (const { value } of store.list('network')) this.#indexNetwork(value as Network);
    for (const { id, value } of store.list('volume')) this.#volumes.set(id, value as Volume);
  }

  get networks(): Iterable<Network> {
    return this.#networks.values();
  }

  get containers(): Iterable<Container> {
    return this.#containers.values();
  }

  get containerCount(): number {
    return this.#containers.size;
  }

  get volumes(): Iterable<Volume> {
    return this.#volumes.values();
  }

  get volumeCount(): number {
    return this.#volumes.size;
  }

  /** By name. Throws `E_OBJECT_NOT_FOUND`. */
  volume(name: string): Volume {
    const found = this.#volumes.get(name);
    if (!found) throw notFound(`get ${name}: no such volume`);
    return found;
  }

  findVolume(name: string): Volume | undefined {
    return this.#volumes.get(name);
  }

  /** By id, name or the beginning of an id. Throws `E_OBJECT_NOT_FOUND`. */
  network(key: string): Network {
    const found = lookUp(this.#networks.values(), key, 'network');
    if (!found) throw notFound(`network ${key} not found`);
    return found;
  }

  findNetwork(id: string): Network | undefined {
    return this.#networks.get(id);
  }

  findNetworkNamed(name: string): Network | undefined {
    return [...this.#networks.values()].find((network) => network.name === name);
  }

  /** By id, name (with or without a leading slash) or the beginning of an id. */
  container(key: string): Container {
    const found = lookUp(this.#containers.values(), key.replace(/^\//, ''), 'container');
    if (!found) throw notFound(`No such container: ${key}`);
    return found;
  }

  findContainer(id: string): Container | undefined {
    return this.#containers.get(id);
  }

  nameTaken(name: string): Container | undefined {
    return [...this.#containers.values()].find((container) => container.name === name);
  }

  /** The addresses of a network that is there. */
  addresses(networkId: string): NetworkAddresses {
    const found = this.#addresses.get(networkId);
    if (!found) throw notFound(`network ${networkId} not found`);
    return found;
  }

  /** How often a network that is there had no address left. */
  get exhausted(): number {
    return [...this.#addresses.values()].reduce((sum, one) => sum + one.exhausted, 0);
  }

  putNetwork(network: Network): void {
    this.#write([{ kind: 'network', id: network.id, value: network }]);
    this.#indexNetwork(network);
  }

  dropNetwork(id: string): void {
    this.#write([{ kind: 'network', id, value: undefined }]);
    this.#networks.delete(id);
    this.#addresses.delete(id);
  }

  putContainer(container: Container): void {
    this.#write([{ kind: 'container', id: container.id, value: container }]);
    this.#containers.set(container.id, container);
  }

  dropContainer(id: string): void {
    this.#write([{ kind: 'container', id, value: undefined }]);
    this.#containers.delete(id);
  }

  putVolume(volume: Volume): void {
    this.#write([{ kind: 'volume', id: volume.name, value: volume }]);
    this.#volumes.set(volume.name, volume);
  }

  dropVolume(name: string): void {
    this.#write([{ kind: 'volume', id: name, value: undefined }]);
    this.#volumes.delete(name);
  }

  /** Containers whose sandbox is on a network. */
  attachedTo(networkId: string): Container[] {
    return [...this.#containers.values()].filter(({ attachments }) =>
      attachments.some((one) => one.networkId === networkId && one.active),
    );
  }

  #indexNetwork(network: Network): void {
    // Those of a third-party IPAM driver are its own business.
    const own = network.ipam.blocks.filter(({ pool }) => pool === undefined);
    const addresses = new NetworkAddresses({ ...network, ipam: { ...network.ipam, blocks: own } });
    for (const { attachments } of this.attachedTo(network.id)) {
      const active = attachments.find(({ networkId }) => networkId === network.id)?.active;
      for (const lease of [active?.ipv4, active?.ipv6]) {
        if (lease && addresses.covers(lease.address)) addresses.reserve(lease.address);
      }
    }
    this.#networks.set(network.id, network);
    this.#addresses.set(network.id, addresses);
  }

  #write(changes: readonly Change[]): void {
    this.#store.write(changes);
  }
}
