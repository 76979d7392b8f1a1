import { SluiceError } from '../base/errors.ts';
import { parseAddress, parsePrefix } from '../ipam/cidr.ts';
import { listOf, objectOf, textOf } from './answer-fields.ts';
import type { PluginAnswer } from './plugin-client.ts';
import type { PluginHost } from './plugin-host.ts';

/** One block of addresses of a network, as a network driver is told of it. */
export type NetworkBlock = {
  readonly AddressSpace: string;
  readonly Pool: string;
  /** With prefix length. */
  readonly Gateway?: string;
  /** With prefix length, by name. */
  readonly AuxAddresses: Readonly<Record<string, string>>;
};

/** Addresses of an endpoint; with prefix length. Undefined: the driver chooses. */
export type EndpointInterface = {
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  readonly mac: string | undefined;
};

/** A route of a sandbox through an endpoint; undefined next hop: on the link. */
export type StaticRoute = { readonly destination: string; readonly nextHop: string | undefined };

/** What a driver made for a sandbox that joins. */
export type JoinAnswer = {
  /** Name of the link in the host's namespace, which is to be moved into the sandbox. */
  readonly source: string;
  /** Its name there, without the number. */
  readonly prefix: string;
  readonly gateway4: string | undefined;
  readonly gateway6: string | undefined;
  readonly routes: readonly StaticRoute[];
};

const LINK = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,14}$/;
const PREFIX = /^[A-Za-z][A-Za-z0-9_.-]{0,11}$/;
const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
const MAX_ROUTES = 256;
/** Kinds of routes. Source: libnetwork, types.NEXTHOP and types.CONNECTED. */
const NEXT_HOP = 0;
/** Calls of third-party network drivers, their answers checked. */
export class NetworkDrivers {
  readonly #plugins: PluginHost;

  constructor(plugins: PluginHost) {
    this.#plugins = plugins;
  }

  /** Throws when there is no such driver. Scope `global`: its networks span hosts. */
  async capabilities(driver: string): Promise<{ scope: 'local' | 'global' | 'swarm' }> {
    const answer = await this.#call(driver, 'GetCapabilities', {});
    const scope = textOf(answer, 'Scope') ?? 'local';
    if (scope === 'local' || scope === 'global' || scope === 'swarm') return { scope };
    throw this.#wrong(driver, 'GetCapabilities', `Scope "${scope}" is not local, global or swarm`);
  }

  async createNetwork(
    driver: string,
    network: string,
    options: Readonly<Record<string, unknown>>,
    ipv4: readonly NetworkBlock[],
    ipv6: readonly NetworkBlock[],
  ): Promise<void> {
    const body = { NetworkID: network, Options: options, IPv4Data: ipv4, IPv6Data: ipv6 };
    await this.#call(driver, 'CreateNetwork', body);
  }

  async deleteNetwork(driver: string, network: string): Promise<void> {
    await this.#call(driver, 'DeleteNetwork', { NetworkID: network });
  }

  /** Returns the addresses that the driver chose; it may change none that it was given. */
  async createEndpoint(
    driver: string,
    network: string,
    endpoint: string,
    wanted: EndpointInterface,
    options: Readonly<Record<string, unknown>>,
  ): Promise<EndpointInterface> {
    const Interface = {
      Address: wanted.ipv4 ?? '',
      AddressIPv6: wanted.ipv6 ?? '',
      MacAddress: wanted.mac ?? '',
    };
    const ids = { NetworkID: network, EndpointID: endpoint };
    const body = { ...ids, Interface, Options: options };
    const answer = objectOf(await this.#call(driver, 'CreateEndpoint', body), 'Interface');
    const chosen = (key: string, given: string | undefined, valid: (text: string) => boolean) => {
      const text = textOf(answer, key);
      if (text === undefined) return given;
      if (!valid(text)) throw this.#wrong(driver, 'CreateEndpoint', `${key} "${text}" is invalid`);
      if (given !== undefined && text.toLowerCase() !== given.toLowerCase()) {
        const why = `${key} ${given} may not be changed to ${text}`;
        throw this.#wrong(driver, 'CreateEndpoint', why);
      }
      return text;
    };
    return {
      ipv4: chosen('Address', wanted.ipv4, (text) => parsePrefix(text)?.cidr.family === 4),
      ipv6: chosen('AddressIPv6', wanted.ipv6, (text) => parsePrefix(text)?.cidr.family === 6),
      mac: chosen('MacAddress', wanted.mac, (text) => MAC.test(text))?.toLowerCase(),
    };
  }

  /** What the driver tells of an endpoint, in its own keys. */
  async operationalInfo(driver: string, network: string, endpoint: string): Promise<PluginAnswer> {
    const body = { NetworkID: network, EndpointID: endpoint };
    return objectOf(await this.#call(driver, 'EndpointOperInfo', body), 'Value');
  }

  async deleteEndpoint(driver: string, network: string, endpoint: string): Promise<void> {
    await this.#call(driver, 'DeleteEndpoint', { NetworkID: network, EndpointID: endpoint });
  }

  /** `sandbox`: path of its network namespace. */
  async join(
    driver: string,
    network: string,
    endpoint: string,
    sandbox: string,
    options: Readonly<Record<string, unknown>>,
  ): Promise<JoinAnswer> {
    const ids = { NetworkID: network, EndpointID: endpoint };
    const body = { ...ids, SandboxKey: sandbox, Options: options };
    const answer = await this.#call(driver, 'Join', body);
    const name = objectOf(answer, 'InterfaceName');
    const [source, prefix] = [textOf(name, 'SrcName'), textOf(name, 'DstPrefix') ?? 'eth'];
    if (source === undefined || !LINK.test(source)) {
      const shown = source === undefined ? 'absent' : `"${source}", which is no link's name`;
      throw this.#wrong(driver, 'Join', `InterfaceName.SrcName is ${shown}`);
    }
    if (!PREFIX.test(prefix)) {
      throw this.#wrong(driver, 'Join', `InterfaceName.DstPrefix "${prefix}" is no link's name`);
    }
    const gateway = (key: string, family: 4 | 6) => {
      const text = textOf(answer, key);
      if (text === undefined || parseAddress(text)?.family === family) return text;
      throw this.#wrong(driver, 'Join', `${key} "${text}" is no IPv${family} address`);
    };
    return {
      source,
      prefix,
      gateway4: gateway('Gateway', 4),
      gateway6: gateway('GatewayIPv6', 6),
      routes: listOf(answer, 'StaticRoutes', MAX_ROUTES).map((raw) => this.#route(driver, raw)),
    };
  }

  async leave(driver: string, network: string, endpoint: string): Promise<void> {
    await this.#call(driver, 'Leave', { NetworkID: network, EndpointID: endpoint });
  }

  /** Tells the driver to publish ports; called for the endpoint that is a sandbox's gateway. */
  async programExternal(
    driver: string,
    network: string,
    endpoint: string,
    options: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const body = { NetworkID: network, EndpointID: endpoint, Options: options };
    await this.#call(driver, 'ProgramExternalConnectivity', body);
  }

  async revokeExternal(driver: string, network: string, endpoint: string): Promise<void> {
    const body = { NetworkID: network, EndpointID: endpoint };
    await this.#call(driver, 'RevokeExternalConnectivity', body);
  }

  #route(driver: string, raw: PluginAnswer): StaticRoute {
    const destination = textOf(raw, 'Destination') ?? '';
    const parsed = parsePrefix(destination);
    const nextHop = textOf(raw, 'NextHop');
    const direct = raw['RouteType'] !== undefined && raw['RouteType'] !== NEXT_HOP;
    const fits =
      parsed && (direct || parseAddress(nextHop ?? '')?.family === parsed.address.family);
    if (fits) return { destination, nextHop: direct ? undefined : nextHop };
    const shown = `${destination} by ${nextHop ?? 'nothing'}`;
    throw this.#wrong(driver, 'Join', `the static route ${shown} is invalid`);
  }

  #wrong(driver: string, method: string, why: string): SluiceError {
    return new SluiceError(
      'E_PLUGIN_ANSWER',
      `plugin "${driver}": NetworkDriver.${method}: its answer cannot be used: ${why}`,
    );
  }

  #call(driver: string, method: string, body: unknown): Promise<PluginAnswer> {
    return this.#plugins.call(driver, 'NetworkDriver', method, body);
  }
}
