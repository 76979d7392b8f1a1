import type { z } from 'zod';
import { checkPair } from '../../../base/pem.ts';
import { bare } from '../../../model/address.ts';
import type { NodeAssignment, ServiceBackends } from '../../../model/cluster.ts';
import type { Listener } from '../../../model/listener.ts';
import type { route } from '../../../model/route.ts';
import type { service } from '../../../model/service.ts';
import {
  type HttpRule,
  type HttpTarget,
  hasHttpLabels,
  namedSecrets,
  readHttpLabels,
} from '../http-labels.ts';
import type { LocalHost } from './cluster-intent.ts';

type RouteInput = z.input<typeof route>;
type ServiceInput = z.input<typeof service>;

/** What one host name of a service asks of gateways. */
type HostRule = Omit<HttpRule, 'hosts' | 'to'> & {
  readonly host: string;
  /** An address, or the name of a service of `HttpMesh`. */
  readonly to: { readonly redirect: string } | { readonly service: string };
  readonly name: string;
  /** Service of the cluster that asks. */
  readonly of: string;
  readonly edge: string | undefined;
};

/** Where a task is reached. */
type Backend = {
  /** The same for every gateway, so that all choose alike by it. */
  readonly name: string;
  /** The one that leads to it from this host. */
  readonly address: string;
};

/** What the gateway of a node has of its cluster. */
export type HttpMesh = {
  /** In the configuration's language, each with a name that no file is to use. */
  readonly services: Readonly<Record<string, ServiceInput>>;
  /** The most specific first; of the same host and path the oldest service's. */
  readonly rules: readonly HostRule[];
  readonly certificates: readonly {
    readonly edge: string | undefined;
    readonly cert: string;
    readonly key: string;
  }[];
  /** What certificates are made of, by the name that they have there. */
  readonly files: Readonly<Record<string, string>>;
  /** What is left out, in words. */
  readonly faults: readonly string[];
  /** Tasks that serve, by the name of their service. */
  readonly backends: Readonly<Record<string, readonly Backend[]>>;
};

const MAX_NAME = 63;
const FILE = 'secret:';

function serviceInput(of: string, { port, sticky, tls }: HttpTarget): ServiceInput {
  return {
    discover: { cluster: { service: of, port } },
    ...(sticky === 'source' ? { sticky: { source: {} } } : {}),
    ...(typeof sticky === 'object' ? { sticky: { appCookie: { name: sticky.cookie } } } : {}),
    ...(tls === 'none' ? {} : { tls: { verify: tls === 'verified' } }),
  };
}

/** What services ask for, as long as they are told of as they are. */
const shares = new WeakMap<ServiceBackends, ReturnType<typeof readShare>>();

function shareOf(service: ServiceBackends): ReturnType<typeof readShare> {
  const share = shares.get(service) ?? readShare(service);
  shares.set(service, share);
  return share;
}

/** What one service asks for: the services of gateways, and rules that name them. */
function readShare({ serviceId, name, labels, ports }: ServiceBackends) {
  const { rules: asked, edge, faults, certificate } = readHttpLabels(labels, ports);
  const services: Record<string, ServiceInput> = {};
  const names = new Map<string, string>();
  const nameOf = (target: HttpTarget) => {
    const key = JSON.stringify(target);
    const same = [...names.keys()].filter((one) => JSON.parse(one).port === target.port).length;
    const tail = `.${target.port}${same === 0 ? '' : `.${same + 1}`}`;
    const head = `cluster.${name}${tail}`.length <= MAX_NAME ? name : serviceId;
    const known = names.get(key) ?? `cluster.${head}${tail}`;
    names.set(key, known);
    services[known] = serviceInput(name, target);
    return known;
  };
  const rules = asked.flatMap(({ hosts, to, ...rest }, at) => {
    const end = 'redirect' in to ? to : { service: nameOf(to) };
    const own = { ...rest, to: end, name: `cluster.${name}.${at}`, of: name, edge };
    return hosts.map((host, n): HostRule => ({ ...own, host, name: `${own.name}.${n}` }));
  });
  return { services, rules, faults, certificate, edge };
}

/** The most specific first: exact names before wildcards, longer before shorter. */
function bySpecificity(a: HostRule, b: HostRule): number {
  const wild = ({ host }: HostRule) => (host.startsWith('*.') ? 1 : 0);
  return wild(a) - wild(b) || b.host.length - a.host.length || b.path.length - a.path.length;
}

/**
 * What the labels of a cluster's services have a gateway serve, and where tasks are. `known` are the
 * secrets that it had: a node that starts has none until a manager answers.
 */
export function httpMesh(
  assignment: NodeAssignment,
  host: LocalHost | undefined,
  known: HttpMesh['files'] = {},
): HttpMesh {
  const services: Record<string, ServiceInput> = {};
  const rules: HostRule[] = [];
  const certificates: HttpMesh['certificates'][number][] = [];
  const faults: string[] = [];
  const files = secretFiles(assignment, known);
  const age = ({ created, serviceId }: ServiceBackends) => `${created} ${serviceId}`;
  const byAge = assignment.services.toSorted((a, b) => (age(a) < age(b) ? -1 : 1));
  for (const one of byAge.filter(({ labels }) => hasHttpLabels(labels))) {
    const share = shareOf(one);
    faults.push(...share.faults.map((fault) => `service ${one.name}: ${fault}`));
    if (share.faults.length > 0) continue;
    Object.assign(services, share.services);
    rules.push(...share.rules);
    if (!share.certificate) continue;
    const [cert, key] = [FILE + share.certificate.cert, FILE + share.certificate.key];
    const wrong = pairFault(files[cert], files[key]);
    if (wrong === undefined) certificates.push({ edge: share.edge, cert, key });
    else faults.push(`service ${one.name}: no certificate: ${wrong}`);
  }
  rules.sort(bySpecificity);
  const backends = Object.fromEntries(
    assignment.services.map((one) => [one.name, backendsOf(one, assignment, host)]),
  );
  return { services, rules, certificates, files, faults, backends };
}

function pairFault(cert: string | undefined, key: string | undefined): string | undefined {
  if (cert === undefined || key === undefined) return 'its secrets have not reached this node';
  return checkPair(cert, key)?.message;
}

function secretFiles(
  { services, files }: NodeAssignment,
  known: HttpMesh['files'],
): Record<string, string> {
  const named = [...new Set(services.flatMap(({ labels }) => namedSecrets(labels)))].sort();
  const secrets = new Map(
    files.flatMap(({ kind, name, data }) => (kind === 'secret' ? [[name, data]] : [])),
  );
  return Object.fromEntries(
    named.flatMap((name) => {
      const data = secrets.get(name);
      const text = data === undefined ? known[FILE + name] : Buffer.from(data, 'base64').toString();
      return text === undefined ? [] : [[FILE + name, text]];
    }),
  );
}

/** Tasks that take new connections. */
function backendsOf(
  { tasks }: ServiceBackends,
  { networks }: NodeAssignment,
  host: LocalHost | undefined,
): Backend[] {
  const ingress = networks.find((network) => network.ingress)?.id;
  if (ingress === undefined || !host) return [];
  const serving = tasks.filter(({ draining }) => !draining);
  return serving.flatMap(({ taskId, name, nodeId, addresses }) => {
    const inMesh = addresses[ingress];
    if (inMesh === undefined) return [];
    const [here] = host.gatewayAddresses.get(taskId) ?? [];
    const address = nodeId === host.nodeId ? here : inMesh;
    return address === undefined ? [] : [{ name, address: bare(address) }];
  });
}

/** What a listener gets of a mesh, in the configuration's language. */
export type ListenerShare = {
  readonly routes: readonly RouteInput[];
  readonly certificates: readonly { readonly cert: string; readonly key: string }[];
  readonly faults: readonly string[];
};

/** `edge` as the listener's `cluster` says. */
export function listenerShare(
  { rules, certificates }: Pick<HttpMesh, 'rules' | 'certificates'>,
  protocol: Listener['protocol'],
  edge: string | true,
): ListenerShare {
  const fits = (one: { readonly edge: string | undefined }) => edge === true || one.edge === edge;
  const claimed = new Map<string, string>();
  const faults: string[] = [];
  const routes = rules.filter(fits).flatMap((rule): RouteInput[] => {
    const route = routeFor(rule, protocol);
    if (!route) return [];
    const place = `${rule.host}${rule.path}`;
    const owner = claimed.get(place);
    claimed.set(place, owner ?? rule.of);
    if (owner === undefined) return [route];
    if (owner !== rule.of) {
      faults.push(`service ${rule.of} does not get ${place}: service ${owner} had it before`);
    }
    return [];
  });
  const pairs = protocol === 'https' ? certificates.filter(fits) : [];
  return { routes, certificates: pairs.map(({ cert, key }) => ({ cert, key })), faults };
}

/** Undefined: it is of no concern to listeners of that protocol. */
function routeFor(
  { host, path, strip, on, to, name }: HostRule,
  protocol: Listener['protocol'],
): RouteInput | undefined {
  const end = 'service' in to ? to : { redirect: { to: to.redirect, status: 302 as const } };
  if ((on === 'passthrough') !== (protocol === 'tls-passthrough')) return undefined;
  if (on === 'passthrough') return { name, match: { sni: host }, ...end };
  const match = { host, ...(path === '' ? {} : { path: `${path}/*` }) };
  const rewrite = strip ? { rewrite: { stripPrefix: path } } : {};
  if (protocol === 'http' && on === 'https-only') {
    return { name, match, redirect: { to: 'https://{host}{uri}', status: 307 } };
  }
  const here = on === 'both' || on === protocol || (on === 'https-only' && protocol === 'https');
  return here ? { name, match, ...end, ...('service' in to ? rewrite : {}) } : undefined;
}
