import { invalid } from '../../base/faults.ts';
import type { DaemonOptions } from '../../control/daemon-options.ts';
import { type Cidr, parseAddress, parseCidr, parsePrefix, width } from '../../ipam/cidr.ts';
import { DEFAULT_SOURCES, type SubnetSource } from '../../ipam/subnet-choice.ts';
import { PLUGIN_FOLDERS } from '../../plugin/discovery.ts';
import { DEFAULT_PATIENCE } from '../../plugin/plugin-client.ts';
import type { PluginOptions } from '../../plugin/plugin-host.ts';
import { type ClusterStoreOptions, clusterStore } from './cluster-store.ts';
import { DAEMON_OPTIONS, REPLACED, WITHOUT_EFFECT } from './option-table.ts';
import { type Pool, readValues, type Values } from './values.ts';

/** Everything that the engine of a daemon was started with. */
export type DaemonSettings = {
  readonly hosts: readonly string[];
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly pidfile: string | undefined;
  readonly group: string;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
  readonly metricsAddress: string | undefined;
  readonly plugins: PluginOptions;
  /** Undefined: a file of this daemon's own. */
  readonly clusterStore: ClusterStoreOptions | undefined;
  /** Address or link that others are told; empty: whatever this host has only one of. */
  readonly advertise: string;
  readonly options: DaemonOptions;
  /** What was given and has no effect. */
  readonly warnings: readonly string[];
};

/** What a machine tells that options need. */
export type OptionFacts = {
  /** Addresses with prefix length of a link; undefined: there is no such link. */
  readonly linkAddresses: (link: string) => readonly string[] | undefined;
  /** A block of private IPv6 addresses of this daemon's own, /48. */
  readonly privateBlock: Cidr;
};

const DEFAULTS = {
  dataRoot: '/var/lib/sluice',
  execRoot: '/run/sluice',
  group: 'sluice',
  shutdownS: 15,
  pluginS: 30,
};
const MAX_PLUGIN_S = 600;
const IPV6_SUBNET_BITS = 64;
const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/** Splits a file into what has an effect and warnings. Throws for what nobody knows. */
function checkKeys(file: Readonly<Record<string, unknown>>): string[] {
  const known = DAEMON_OPTIONS.map(({ key }) => key);
  const keys = Object.keys(file);
  const replaced = keys.find((key) => REPLACED[key] !== undefined);
  if (replaced !== undefined) {
    throw invalid(`${replaced} is not served: ${REPLACED[replaced]}; take it out`);
  }
  const unknown = keys.filter((key) => !known.includes(key) && !WITHOUT_EFFECT.includes(key));
  if (unknown.length > 0) {
    throw invalid(
      `the following directives don't match any configuration option: ${unknown.join(', ')}`,
    );
  }
  const idle = keys.filter((key) => WITHOUT_EFFECT.includes(key));
  return idle.length > 0 ? [`these keys have no effect here: ${idle.join(', ')}`] : [];
}

function checkConflicts(
  flags: Readonly<Record<string, unknown>>,
  file: Readonly<Record<string, unknown>>,
): void {
  const both = Object.keys(flags).filter((key) => file[key] !== undefined);
  if (both.length === 0) return;
  const list = both.map(
    (key) =>
      `${key}: (from flag: ${JSON.stringify(flags[key])}, from file: ${JSON.stringify(file[key])})`,
  );
  throw invalid(
    `the following directives are specified both as a flag and in the configuration file: ${list.join(', ')}`,
  );
}

function sources(pools: readonly Pool[], privateBlock: Cidr): SubnetSource[] {
  const own: SubnetSource = { base: privateBlock, bits: IPV6_SUBNET_BITS };
  const given = pools.map(({ base, size }): SubnetSource => {
    const cidr = parseCidr(base);
    if (!cidr) throw invalid(`invalid default-address-pools: "${base}" is no block`);
    if (size < cidr.bits || size > width(cidr.family)) {
      throw invalid(`invalid default-address-pools: size ${size} does not fit ${base}`);
    }
    return { base: cidr, bits: size };
  });
  if (given.length === 0) return [...DEFAULT_SOURCES, own];
  const sorted = given.sort((a, b) => (a.base.base < b.base.base ? -1 : 1));
  return sorted.some(({ base }) => base.family === 6) ? sorted : [...sorted, own];
}

function need<T>(value: T | undefined, key: string, text: string | undefined): T | undefined {
  if (text !== undefined && value === undefined) throw invalid(`invalid ${key}: "${text}"`);
  return value;
}

function textList(values: Values, ...keys: string[]): string[] {
  return keys.flatMap((key) => values.text(key) ?? []);
}

function checkAddresses(values: Values): void {
  for (const key of ['bip', 'bip6', 'fixed-cidr', 'fixed-cidr-v6']) {
    const text = values.text(key);
    need(text === undefined ? undefined : parsePrefix(text), key, text);
  }
  for (const key of ['default-gateway', 'default-gateway-v6', 'ip', 'host-gateway-ip']) {
    const text = values.text(key);
    need(text === undefined ? undefined : parseAddress(text), key, text);
  }
  for (const server of values.list('dns')) need(parseAddress(server), 'dns', server);
  for (const label of values.list('labels')) {
    if (!/^[^=]+=/.test(label)) throw invalid(`invalid labels: "${label}" is not key=value`);
  }
}

function bridgeOptions(values: Values, facts: OptionFacts): DaemonOptions['defaultBridge'] {
  const bridge = values.text('bridge');
  if (bridge !== undefined && values.text('bip') !== undefined) {
    throw invalid('You specified -b & --bip, mutually exclusive options. Please specify only one');
  }
  const own = bridge === undefined || bridge === 'none' ? undefined : facts.linkAddresses(bridge);
  if (bridge !== undefined && bridge !== 'none' && !own) {
    throw invalid(`bridge device with non default name ${bridge} must be created manually`);
  }
  return {
    enabled: bridge !== 'none',
    link: bridge === 'none' ? undefined : bridge,
    external: own !== undefined,
    addresses: own ?? textList(values, 'bip', 'bip6'),
    ranges: textList(values, 'fixed-cidr', 'fixed-cidr-v6'),
    gateways: textList(values, 'default-gateway', 'default-gateway-v6'),
    ipv6: values.flag('ipv6') ?? false,
    icc: values.flag('icc') ?? true,
    masquerade: (values.flag('ip-masq') ?? true) && (values.flag('iptables') ?? true),
    mtu: values.number('mtu') || undefined,
  };
}

function daemonOptions(values: Values, facts: OptionFacts): DaemonOptions {
  checkAddresses(values);
  if (values.flag('iptables') === false && values.flag('icc') === false) {
    throw invalid(
      'You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set --icc or --iptables to true',
    );
  }
  const bindAddress = values.text('ip');
  return {
    defaultBridge: bridgeOptions(values, facts),
    subnetSources: sources(values.pools('default-address-pools'), facts.privateBlock),
    dns: {
      servers: values.list('dns'),
      search: values.list('dns-search'),
      options: values.list('dns-opts'),
    },
    bindAddress: bindAddress === '0.0.0.0' ? undefined : bindAddress,
    hostGateways: textList(values, 'host-gateway-ip'),
    rules: values.flag('iptables') ?? true,
    insecureRegistries: values.list('insecure-registries'),
    labels: values.list('labels'),
    shutdownTimeoutMs: (values.number('shutdown-timeout') ?? DEFAULTS.shutdownS) * 1000,
  };
}

function tlsFiles(values: Values): DaemonSettings['tls'] {
  const wanted = values.flag('tlsverify') || values.flag('tls');
  const [ca, cert, key] = ['tlscacert', 'tlscert', 'tlskey'].map((name) => values.text(name));
  if (!wanted && ca === undefined && cert === undefined && key === undefined) return undefined;
  if (ca === undefined || cert === undefined || key === undefined) {
    throw invalid(
      'TLS needs tlscacert, tlscert and tlskey: clients are always asked for a certificate',
    );
  }
  return { ca, cert, key };
}

function pluginOptions(values: Values): PluginOptions {
  const folders = values.list('plugin-folders');
  const relative = folders.find((folder) => !folder.startsWith('/'));
  if (relative !== undefined) {
    throw invalid(`invalid plugin-folders: "${relative}" is not an absolute path`);
  }
  const seconds = values.number('plugin-timeout') ?? DEFAULTS.pluginS;
  if (seconds < 1 || seconds > MAX_PLUGIN_S) {
    throw invalid(`invalid plugin-timeout: ${seconds} is not from 1 to ${MAX_PLUGIN_S} seconds`);
  }
  return {
    folders: folders.length > 0 ? folders : PLUGIN_FOLDERS,
    patience: { ...DEFAULT_PATIENCE, callTimeoutMs: seconds * 1000 },
  };
}

function logLevel(values: Values): DaemonSettings['logLevel'] {
  if (values.flag('debug')) return 'debug';
  const text = values.text('log-level') ?? 'info';
  const level = LEVELS.find((one) => one === text) ?? (text === 'fatal' ? 'error' : undefined);
  if (level === undefined) throw invalid(`invalid log-level: "${text}" is none of ${LEVELS}`);
  return level;
}

/**
 * What flags and file come to. A key that is in both is refused, whatever its value, so that no
 * reload silently changes nothing.
 */
export function daemonSettings(
  flags: Readonly<Record<string, unknown>>,
  file: Readonly<Record<string, unknown>>,
  facts: OptionFacts,
): DaemonSettings {
  const warnings = checkKeys(file);
  checkConflicts(flags, file);
  const values = readValues({ ...file, ...flags });
  const execRoot = values.text('exec-root') ?? DEFAULTS.execRoot;
  const hosts = values.list('hosts');
  return {
    hosts: hosts.length > 0 ? hosts : [`unix://${execRoot}/sluice.sock`],
    dataRoot: values.text('data-root') ?? DEFAULTS.dataRoot,
    execRoot,
    pidfile: values.text('pidfile'),
    group: values.text('group') ?? DEFAULTS.group,
    logLevel: logLevel(values),
    tls: tlsFiles(values),
    metricsAddress: values.text('metrics-addr'),
    plugins: pluginOptions(values),
    clusterStore: clusterStore(values.text('cluster-store'), values.map('cluster-store-opts')),
    advertise: values.text('swarm-default-advertise-addr') ?? '',
    options: daemonOptions(values, facts),
    warnings,
  };
}
