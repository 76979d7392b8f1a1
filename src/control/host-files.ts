import type { Container } from '../model/container.ts';
import type { NameRecord, ResolverIntent } from '../model/host-intent.ts';
import type { Network } from '../model/network.ts';
import { shortId } from './ids.ts';
import { type CompileContext, gatewayAttachment, gatewayOf, hasNames } from './topology.ts';

const RESOLVER = '127.0.0.11';
const LOCAL_NAMES = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

type ResolvConf = {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
};

/** The statements of a resolv.conf that mean something to us. Source: resolv.conf(5). */
export function parseResolvConf(text: string): ResolvConf {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const after = (keys: readonly string[]) => lines.filter(([key = '']) => keys.includes(key));
  return {
    servers: after(['nameserver']).flatMap(([, server]) => server ?? []),
    search: after(['search', 'domain']).at(-1)?.slice(1) ?? [],
    options: after(['options']).flatMap(([, ...options]) => options),
  };
}

function formatResolvConf({ servers, search, options }: ResolvConf): string {
  return [
    ...servers.map((server) => `nameserver ${server}`),
    ...(search.length > 0 ? [`search ${search.join(' ')}`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}

function isLoopback(server: string): boolean {
  return server.startsWith('127.') || server === '::1';
}

/** What a container's own settings, the daemon's and the host's come to, in this order. */
function effective(container: Container, { options, facts }: CompileContext): ResolvConf {
  const host = parseResolvConf(facts.resolvConf());
  const first = (...lists: (readonly string[])[]) => lists.find((list) => list.length > 0) ?? [];
  const { dns } = container.spec;
  const search = first(dns.search, options.dns.search, host.search);
  return {
    servers: first(dns.servers, options.dns.servers, host.servers),
    search: search[0] === '.' && search.length === 1 ? [] : search,
    options: first(dns.options, options.dns.options, host.options),
  };
}

function namedNetworks({ attachments }: Container, { registry }: CompileContext): Network[] {
  return attachments.flatMap(({ networkId, active }) => {
    const network = registry.findNetwork(networkId);
    return active && network && hasNames(network) ? [network] : [];
  });
}

/** Splits `container:alias`. */
function parseLink(link: string): { target: string; alias: string } {
  const [target = '', alias] = link.split(':');
  const name = target.replace(/^\//, '');
  return { target: name, alias: alias?.replace(/^.*\//, '') || name };
}

/** Those that a container links to by networks on which both are. */
export function linkTargets(container: Container, { registry }: CompileContext) {
  return container.attachments.flatMap(({ request, networkId, active }) =>
    request.links.flatMap((link) => {
      const { target, alias } = parseLink(link);
      const peer = [...registry.containers].find(
        ({ id, name }) => name === target || id.startsWith(target),
      );
      const joined = peer?.attachments.find((one) => one.networkId === networkId)?.active;
      return active && peer && joined ? [{ networkId, alias, peer, active, joined }] : [];
    }),
  );
}

/** Containers with a sandbox that link to one. */
export function linkersOf({ id }: Container, context: CompileContext): Container[] {
  return [...context.registry.containers].filter(
    (one) => one.sandbox && linkTargets(one, context).some(({ peer }) => peer.id === id),
  );
}

function linkRecords(container: Container, context: CompileContext): NameRecord[] {
  return linkTargets(container, context).map(({ networkId, alias, peer, joined }) => ({
    name: alias.toLowerCase(),
    network: networkId,
    addresses: [joined.ipv4, joined.ipv6].flatMap((lease) => lease?.address ?? []),
    primary: false,
    services: peer.spec.exposed,
  }));
}

/** The resolver of a sandbox; undefined: none of its networks has names. */
export function resolverIntent(
  container: Container,
  context: CompileContext,
): ResolverIntent | undefined {
  if (namedNetworks(container, context).length === 0) return undefined;
  const { servers, options } = effective(container, context);
  const outside = ['ipv4', 'ipv6'] as const;
  const reaches = outside.some((family) => gatewayAttachment(container, context.registry, family));
  const ndots = options.find((option) => option.startsWith('ndots:'))?.slice('ndots:'.length);
  return {
    servers: reaches ? servers.filter((server) => !isLoopback(server)) : [],
    records: linkRecords(container, context),
    ndots: ndots === undefined ? undefined : Number(ndots),
  };
}

/** /etc/resolv.conf of a container. */
export function resolvConf(container: Container, context: CompileContext): string {
  const { servers, search, options } = effective(container, context);
  if (container.spec.mode.kind === 'host') return formatResolvConf({ servers, search, options });
  if (namedNetworks(container, context).length === 0) {
    return formatResolvConf({
      servers: servers.filter((one) => !isLoopback(one)),
      search,
      options,
    });
  }
  const own = options.some((option) => option.startsWith('ndots:')) ? [] : ['ndots:0'];
  return formatResolvConf({ servers: [RESOLVER], search, options: [...options, ...own] });
}

function extraHosts(container: Container, { registry, options }: CompileContext): string[] {
  const bridge = registry.findNetworkNamed('bridge');
  return container.spec.extraHosts.flatMap((entry) => {
    const [, name = '', address = ''] = /^([^:=]+)[:=](.*)$/.exec(entry) ?? [];
    if (address !== 'host-gateway') return [`${address.replace(/^\[|\]$/g, '')}\t${name}`];
    const own = bridge && gatewayOf(bridge, 'ipv4');
    const targets = options.hostGateways.length > 0 ? options.hostGateways : own ? [own] : [];
    return targets.map((target) => `${target}\t${name}`);
  });
}

function ownHosts({ attachments, spec, id }: Container): string[] {
  const hostname = spec.hostname || shortId(id);
  const names = spec.domainname ? `${hostname}.${spec.domainname} ${hostname}` : hostname;
  return attachments.flatMap(({ active }) =>
    [active?.ipv4, active?.ipv6].flatMap((lease) => (lease ? [`${lease.address}\t${names}`] : [])),
  );
}

function linkHosts(container: Container, context: CompileContext): string[] {
  if (namedNetworks(container, context).length > 0) return [];
  return linkTargets(container, context).flatMap(({ alias, peer, joined }) => {
    const names = [...new Set([alias, peer.spec.hostname || shortId(peer.id), peer.name])];
    return joined.ipv4 ? [`${joined.ipv4.address}\t${names.join(' ')}`] : [];
  });
}

/** Not of interest to whoever links to a container. */
const OWN_ENV = ['HOME', 'PATH'];

/**
 * Variables that tell a container on the default bridge of those that it links to, as documented
 * for legacy links. On networks with names there are none.
 */
export function linkEnv(container: Container, context: CompileContext): string[] {
  if (namedNetworks(container, context).length > 0) return [];
  return linkTargets(container, context).flatMap(({ alias, peer, joined }) => {
    const address = joined.ipv4?.address;
    const prefix = alias.toUpperCase().replaceAll('-', '_');
    if (address === undefined) return [];
    const ports = [...peer.spec.exposed].sort((a, b) => a.port - b.port);
    const url = ({ port, transport }: (typeof ports)[number]) =>
      `${transport}://${address}:${port}`;
    const [first] = ports;
    const each = ports.flatMap((one) => {
      const name = `${prefix}_PORT_${one.port}_${one.transport.toUpperCase()}`;
      return [
        `${name}=${url(one)}`,
        `${name}_ADDR=${address}`,
        `${name}_PORT=${one.port}`,
        `${name}_PROTO=${one.transport}`,
      ];
    });
    const env = peer.spec.env
      .filter((entry) => !OWN_ENV.includes(entry.split('=')[0] ?? ''))
      .map((entry) => `${prefix}_ENV_${entry}`);
    const names = [`${prefix}_NAME=/${container.name}/${alias}`];
    return [...(first ? [`${prefix}_PORT=${url(first)}`] : []), ...each, ...names, ...env];
  });
}

/** /etc/hosts of a container. */
export function hostsFile(container: Container, context: CompileContext): string {
  const base =
    container.spec.mode.kind === 'host' ? context.facts.hosts().trimEnd().split('\n') : LOCAL_NAMES;
  const lines = [
    ...base,
    ...extraHosts(container, context),
    ...linkHosts(container, context),
    ...ownHosts(container),
  ];
  return `${lines.join('\n')}\n`;
}
