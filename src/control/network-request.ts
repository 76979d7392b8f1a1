import { conflict, forbidden, invalid, notFound } from '../base/faults.ts';
import type { BlockRequest } from '../ipam/block-plan.ts';
import { parseCidr, parsePrefix } from '../ipam/cidr.ts';
import type { Network } from '../model/network.ts';
import { isPluginName } from '../plugin/discovery.ts';
import { isPredefined } from './registry.ts';

/** A network as it is asked for. */
export type NetworkRequest = {
  readonly name: string;
  /** Empty: bridge. */
  readonly driver: string;
  readonly scope: '' | 'local' | 'swarm';
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly ipamDriver: string;
  readonly ipamOptions: Readonly<Record<string, string>>;
  readonly blocks: readonly BlockRequest[];
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string | undefined;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Its bridge is there already. */
  readonly external?: boolean;
};

/** Options of the bridge driver that change what the kernel shows. */
export const BRIDGE_OPTIONS = {
  name: 'com.docker.network.bridge.name',
  icc: 'com.docker.network.bridge.enable_icc',
  masquerade: 'com.docker.network.bridge.enable_ip_masquerade',
  bindAddress: 'com.docker.network.bridge.host_binding_ipv4',
  mtu: 'com.docker.network.driver.mtu',
  isDefault: 'com.docker.network.bridge.default_bridge',
} as const;

/** What a node says that is asked for something of a swarm's. */
export const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect ' +
  'this node to swarm and try again.';
const MAX_LINK_NAME = 15;
const MAX_MTU = 65_535;
const MIN_MTU = 68;

/** The text of a boolean option as Go reads it; undefined: neither. */
export function optionFlag(text: string): boolean | undefined {
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  return undefined;
}

function checkFlag(options: NetworkRequest['options'], key: string): void {
  const text = options[key];
  if (text === undefined || optionFlag(text) !== undefined) return;
  throw invalid(`invalid value for option ${key}: "${text}" is not true or false`);
}

/** Throws when an MTU is asked for that no link can have. */
export function checkMtu(options: NetworkRequest['options']): void {
  const text = options[BRIDGE_OPTIONS.mtu];
  if (text === undefined) return;
  const mtu = Number(text);
  if (/^\d+$/.test(text) && mtu >= MIN_MTU && mtu <= MAX_MTU) return;
  throw invalid(
    `invalid value for option ${BRIDGE_OPTIONS.mtu}: "${text}" is not from ${MIN_MTU} to ${MAX_MTU}`,
  );
}

function checkBridge({ options, blocks }: NetworkRequest): void {
  const families = blocks.flatMap(({ subnet }) => parsePrefix(subnet ?? '')?.cidr.family ?? []);
  if (new Set(families).size < families.length) {
    throw forbidden("bridge driver doesn't support multiple subnets");
  }
  checkFlag(options, BRIDGE_OPTIONS.icc);
  checkFlag(options, BRIDGE_OPTIONS.masquerade);
  const name = options[BRIDGE_OPTIONS.name];
  if (name !== undefined && !/^[^\s/:]{1,15}$/.test(name)) {
    throw invalid(
      `invalid bridge name "${name}": 1 to ${MAX_LINK_NAME} characters without space, "/" or ":"`,
    );
  }
  const bind = options[BRIDGE_OPTIONS.bindAddress];
  if (bind !== undefined && parsePrefix(`${bind}/32`)?.cidr.family !== 4) {
    throw invalid(
      `invalid value for option ${BRIDGE_OPTIONS.bindAddress}: "${bind}" is no address`,
    );
  }
}

function checkMacvlan({ options }: NetworkRequest): void {
  const mode = options['macvlan_mode'] ?? 'bridge';
  if (mode !== 'bridge') {
    throw invalid(`requested macvlan mode '${mode}' is not valid, 'bridge' mode is what is served`);
  }
  const parent = options['parent'];
  if (parent === undefined) return;
  if (parent === 'lo') throw invalid('loopback interface is not a valid macvlan parent link');
  const [, vlan] = /\.(.*)$/.exec(parent) ?? [];
  const id = Number(vlan);
  if (vlan !== undefined && !(/^\d+$/.test(vlan) && id >= 1 && id <= 4094)) {
    throw invalid(`invalid subinterface vlan name ${parent}, example formatting is eth0.10`);
  }
}

const DRIVERS: Readonly<Record<string, (request: NetworkRequest) => void>> = {
  bridge: checkBridge,
  macvlan: checkMacvlan,
};

function checkDriver(request: NetworkRequest): void {
  const { driver, scope, ingress } = request;
  if (driver === 'overlay') {
    if (scope === 'local') throw invalid('cannot downgrade network scope for overlay networks');
    throw forbidden(NOT_A_MANAGER);
  }
  if (ingress || scope === 'swarm') throw forbidden(NOT_A_MANAGER);
  if (driver === 'host' || driver === 'null') {
    throw forbidden(`only one instance of "${driver}" network is allowed`);
  }
  const check = DRIVERS[driver];
  if (!check) {
    if (!isPluginName(driver)) throw notFound(`plugin "${driver}" not found`);
    return;
  }
  check(request);
  checkMtu(request.options);
}

function checkIpam({ ipamDriver, ipv6, blocks }: NetworkRequest): void {
  if (ipamDriver === 'default') return;
  if (ipamDriver !== 'null') {
    if (isPluginName(ipamDriver)) return;
    throw invalid(`invalid ipam driver: "${ipamDriver}"`);
  }
  if (blocks.some(({ subnet }) => subnet !== undefined)) {
    throw invalid('null ipam driver does not handle specific address pool requests');
  }
  if (ipv6) throw invalid('null ipam driver does not handle IPv6 address pool requests');
}

/** Throws when the request contradicts itself, whatever its driver is. */
export function checkGeneral(request: NetworkRequest): void {
  const { name, ingress, attachable, ipv4, ipv6, configOnly, configFrom } = request;
  if (name.trim() === '') throw invalid('invalid network name: name is empty');
  if (isPredefined(name)) {
    throw forbidden(`operation is not permitted on predefined ${name} network `);
  }
  if (ingress && attachable) throw invalid('ingress network cannot be attachable');
  if (configOnly && configFrom !== undefined) {
    throw invalid('a configuration network cannot depend on another configuration network');
  }
  if (!ipv4 && !ipv6) throw invalid('IPv4 or IPv6 must be enabled');
}

/** Throws when a host cannot carry it out whatever networks and plugins there are. */
export function checkNetworkRequest(request: NetworkRequest): void {
  checkGeneral(request);
  checkIpam(request);
  checkDriver(request);
}

/** The request completed by the network that holds its configuration. */
export function inheritConfiguration(
  request: NetworkRequest,
  source: Network | undefined,
): NetworkRequest {
  if (!source?.configOnly) {
    throw invalid(`"${request.configFrom}" is not a configuration-only network`);
  }
  if (request.blocks.length > 0 || Object.keys(request.options).length > 0 || request.internal) {
    throw forbidden(
      'user supplied configurations are not supported if the network depends on a configuration network',
    );
  }
  return {
    ...request,
    ipv4: source.ipv4,
    ipv6: source.ipv6,
    internal: source.internal,
    ipamDriver: source.ipam.driver,
    ipamOptions: source.ipam.options,
    blocks: source.ipam.blocks.map((block) => ({
      ...block,
      subnet: parseCidr(block.subnet) ? block.subnet : undefined,
    })),
    options: source.options,
  };
}

/** Throws when another network stands in the way. */
export function checkClashes(request: NetworkRequest, others: Iterable<Network>): void {
  const link = request.options[BRIDGE_OPTIONS.name];
  for (const other of others) {
    if (other.name === request.name) {
      throw conflict(`network with name ${request.name} already exists`);
    }
    if (link !== undefined && !request.configOnly && other.options[BRIDGE_OPTIONS.name] === link) {
      throw forbidden(
        `cannot create network ${request.name} (${link}): conflicts with network ${other.id} (${link}): networks have same bridge name`,
      );
    }
  }
}
