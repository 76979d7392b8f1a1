import { SluiceError } from '../base/errors.ts';
import { type Family, formatCidr, parsePrefix } from '../ipam/cidr.ts';
import { objectOf, textOf } from './answer-fields.ts';
import type { PluginAnswer } from './plugin-client.ts';
import type { PluginHost } from './plugin-host.ts';

/** What an IPAM driver needs to be given. */
export type IpamCapabilities = {
  readonly needsMac: boolean;
};

/** A block of addresses that a driver handed out. */
export type Pool = {
  readonly id: string;
  /** CIDR. */
  readonly subnet: string;
  /** The gateway's address with prefix length, when the driver names one with the pool. */
  readonly gateway: string | undefined;
};

const GATEWAY = 'com.docker.network.gateway';
const ADDRESS_TYPE = 'RequestAddressType';
const MAC_OPTION = 'com.docker.network.endpoint.macaddress';

/** Calls of third-party IPAM drivers, their answers checked. */
export class IpamDrivers {
  readonly #plugins: PluginHost;

  constructor(plugins: PluginHost) {
    this.#plugins = plugins;
  }

  /** A driver that does not know the call needs nothing. */
  async capabilities(driver: string): Promise<IpamCapabilities> {
    try {
      const answer = await this.#call(driver, 'GetCapabilities', {});
      return { needsMac: answer['RequiresMACAddress'] === true };
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'E_PLUGIN_REFUSED') throw error;
      return { needsMac: false };
    }
  }

  /** The address space that networks of one host take their pools from. */
  async localSpace(driver: string): Promise<string> {
    const answer = await this.#call(driver, 'GetDefaultAddressSpaces', {});
    return textOf(answer, 'LocalDefaultAddressSpace') ?? '';
  }

  async requestPool(
    driver: string,
    request: {
      readonly space: string;
      readonly subnet: string | undefined;
      readonly range: string | undefined;
      readonly options: Readonly<Record<string, string>>;
      readonly family: Family;
    },
  ): Promise<Pool> {
    const { space, subnet, range, options, family } = request;
    const body = {
      AddressSpace: space,
      Pool: subnet ?? '',
      SubPool: range ?? '',
      Options: options,
      V6: family === 6,
    };
    const answer = await this.#call(driver, 'RequestPool', body);
    const id = textOf(answer, 'PoolID');
    if (id === undefined) throw this.#wrong(driver, 'RequestPool', 'PoolID is absent');
    const pool = textOf(answer, 'Pool') ?? '';
    const cidr = parsePrefix(pool)?.cidr;
    if (cidr?.family !== family) {
      throw this.#wrong(driver, 'RequestPool', `Pool "${pool}" is no IPv${family} block`);
    }
    const gateway = textOf(objectOf(answer, 'Data'), GATEWAY);
    if (gateway !== undefined && parsePrefix(gateway)?.cidr.family !== family) {
      throw this.#wrong(driver, 'RequestPool', `the gateway "${gateway}" has no prefix length`);
    }
    return { id, subnet: formatCidr(cidr), gateway };
  }

  async releasePool(driver: string, pool: string): Promise<void> {
    await this.#call(driver, 'ReleasePool', { PoolID: pool });
  }

  /** Returns an address with prefix length; undefined: the driver hands out none (`null`). */
  async requestAddress(
    driver: string,
    request: {
      readonly pool: string;
      readonly address: string | undefined;
      readonly options: Readonly<Record<string, string>>;
      readonly purpose: 'gateway' | 'auxiliary' | 'endpoint';
      readonly mac: string | undefined;
    },
  ): Promise<string | undefined> {
    const { pool, address, options, purpose, mac } = request;
    const more = {
      ...(purpose === 'gateway' ? { [ADDRESS_TYPE]: GATEWAY } : {}),
      ...(mac === undefined ? {} : { [MAC_OPTION]: mac }),
    };
    const body = { PoolID: pool, Address: address ?? '', Options: { ...options, ...more } };
    const answer = await this.#call(driver, 'RequestAddress', body);
    const text = textOf(answer, 'Address');
    if (text === undefined) return undefined;
    if (parsePrefix(text)) return text;
    const why = `Address "${text}" is no address with prefix length`;
    throw this.#wrong(driver, 'RequestAddress', why);
  }

  async releaseAddress(driver: string, pool: string, address: string): Promise<void> {
    await this.#call(driver, 'ReleaseAddress', { PoolID: pool, Address: address });
  }

  #wrong(driver: string, method: string, why: string): SluiceError {
    return new SluiceError(
      'E_PLUGIN_ANSWER',
      `plugin "${driver}": IpamDriver.${method}: its answer cannot be used: ${why}`,
    );
  }

  #call(driver: string, method: string, body: unknown): Promise<PluginAnswer> {
    return this.#plugins.call(driver, 'IpamDriver', method, body);
  }
}
