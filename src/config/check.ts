import { isCryptHash } from '../base/crypt.ts';
import { didYouMean } from '../base/did-you-mean.ts';
import { unreadable } from '../base/unreadable.ts';
import { type Bind, formatBind, formatEndpointAddress } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { Listener } from '../model/listener.ts';
import { planeObstacles } from '../model/plane.ts';
import type { Route } from '../model/route.ts';
import type { Service } from '../model/service.ts';
import type { ConfigIo } from './io.ts';
import { checkHealthRegex, checkRouteRegexes } from './regex.ts';
import { filePlaces } from './resolve.ts';

/** Names of services that an error lists at most. */
const MAX_LISTED = 20;

type Report = (path: PropertyKey[], message: string) => void;

/**
 * What a schema cannot say: references, clashes, files, and keys that do not go together.
 * `services` names all that are written, those with errors too.
 */
export function checkConfig(
  config: GatewayConfig,
  io: ConfigIo,
  report: Report,
  services: ReadonlySet<string>,
): void {
  checkBinds(config, report);
  checkAdmin(config, report);
  for (const [name, listener] of Object.entries(config.listeners)) {
    checkListener(services, name, listener, report);
    if (listener.plane === 'kernel') checkPlane(config, name, report);
  }
  for (const [name, service] of Object.entries(config.services)) {
    checkEndpoints(name, service, report);
    checkReach(name, service, report);
  }
  checkFiles(config, io, report);
}

function checkEndpoints(name: string, service: Service, report: Report): void {
  const at = ['services', name];
  if (service.endpoints.length === 0 && !service.discover) {
    report(at, 'needs `endpoints` or `discover`');
  }
  if (service.endpoints.length > 0 && service.discover) {
    report([...at, 'discover'], 'cannot stand beside `endpoints`');
  }
  const ids = new Set<string>();
  const names = new Set<string>();
  for (const [index, endpoint] of service.endpoints.entries()) {
    const id = formatEndpointAddress(endpoint.address);
    if (ids.has(id)) report([...at, 'endpoints', index], `${id} is listed twice`);
    ids.add(id);
    const own = 'name' in endpoint ? (endpoint.name ?? id) : id;
    if (names.has(own)) report([...at, 'endpoints', index], `the name ${own} is given twice`);
    names.add(own);
  }
}

function checkReach(name: string, service: Service, report: Report): void {
  const at = ['services', name];
  const { protocol, tls } = service;
  if ((protocol === 'h2' || protocol === 'auto') && !tls) {
    report([...at, 'protocol'], `${protocol} needs \`tls\`; HTTP/2 without TLS is h2c`);
  }
  if (protocol === 'h2c' && tls) report([...at, 'protocol'], 'h2c has no `tls`; over TLS it is h2');
  const { discover } = service;
  if (discover && 'dns' in discover && discover.dns.type !== 'SRV' && !discover.dns.port) {
    report([...at, 'discover', 'dns'], `type ${discover.dns.type} needs \`port\``);
  }
  if (discover && 'tasks' in discover) {
    const { name, label } = discover.tasks;
    if (name === undefined && label === undefined) {
      report([...at, 'discover', 'tasks'], 'needs `name` or `label`');
    }
  }
  if (service.health) checkHealthRegex(service.health, [...at, 'health'], report);
}

/** Whether only this machine can reach a bind; what a descriptor leads to is not known here. */
function isLocal(bind: Bind): boolean {
  if (bind.kind !== 'ip') return bind.kind === 'unix';
  return !bind.dualStack && (bind.host.startsWith('127.') || bind.host === '::1');
}

function checkAdmin({ admin }: GatewayConfig, report: Report): void {
  for (const bind of admin?.runtime?.bind ?? []) {
    if (isLocal(bind)) continue;
    report(['admin', 'runtime', 'bind'], `${formatBind(bind)} can be reached from elsewhere`);
  }
  for (const bind of admin?.bind ?? []) {
    if (!isLocal(bind) && !admin?.token) {
      report(
        ['admin', 'bind'],
        `${formatBind(bind)} is not local: set \`token\` or bind to 127.0.0.1`,
      );
    }
  }
}

function overlaps(a: Bind, b: Bind): boolean {
  if (a.kind !== 'ip' || b.kind !== 'ip') return formatBind(a) === formatBind(b);
  if (a.port !== b.port) return false;
  if (a.host === b.host) return true;
  const covers = (one: Bind & { kind: 'ip' }, other: Bind & { kind: 'ip' }) =>
    one.dualStack ||
    (one.host === '0.0.0.0' && !other.host.includes(':')) ||
    (one.host === '::' && other.host.includes(':'));
  return covers(a, b) || covers(b, a);
}

function checkBinds(config: GatewayConfig, report: Report): void {
  const taken: { bind: Bind; udp: boolean; by: string }[] = [];
  for (const bind of config.admin?.bind ?? []) taken.push({ bind, udp: false, by: 'admin' });
  for (const bind of config.admin?.runtime?.bind ?? []) {
    taken.push({ bind, udp: false, by: 'admin.runtime' });
  }
  for (const [name, listener] of Object.entries(config.listeners)) {
    const udp = listener.protocol === 'udp';
    for (const bind of listener.bind) {
      const other = taken.find((one) => one.udp === udp && overlaps(one.bind, bind));
      if (other) {
        const message = `${formatBind(bind)} is taken by ${other.by} (${formatBind(other.bind)})`;
        report(['listeners', name, 'bind'], message);
      }
      taken.push({ bind, udp, by: `listener "${name}"` });
    }
  }
}

function checkListener(
  services: ReadonlySet<string>,
  name: string,
  listener: Listener,
  report: Report,
): void {
  const at = ['listeners', name];
  const { protocol, tls, service, routes, cluster } = listener;
  const terminates = protocol === 'https' || protocol === 'tls';
  if (terminates && !tls) report(at, `protocol ${protocol} needs \`tls\` with certificates`);
  if (!terminates && tls) report([...at, 'tls'], `has no use with protocol ${protocol}`);
  if (cluster !== undefined && (protocol === 'tcp' || protocol === 'udp' || protocol === 'tls')) {
    report([...at, 'cluster'], `has no use with protocol ${protocol}`);
  }
  if (service === undefined && routes.length === 0 && cluster === undefined) {
    report(at, 'needs `service`, `routes` or `cluster`');
  }
  if (service !== undefined) checkService(services, service, [...at, 'service'], report);
  if (protocol === 'udp' && routes.length > 0)
    report([...at, 'routes'], 'udp takes `service` only');
  const names = new Set<string>();
  for (const [index, route] of routes.entries()) {
    const place = [...at, 'routes', index];
    const name = route.name ?? String(index);
    if (names.has(name)) report([...place, 'name'], `a route before this one is named "${name}"`);
    names.add(name);
    if (route.service !== undefined) {
      checkService(services, route.service, [...place, 'service'], report);
    }
    checkSplit(services, route, place, report);
    for (const match of [route.match ?? {}, ...(route.match?.not ?? [])]) {
      for (const one of Object.keys(match.live ?? {})) {
        checkService(services, one, [...place, 'match', 'live', one], report);
      }
    }
    checkRoute(protocol, route, place, report);
  }
}

/** Reports what stands against a listener that is to be in the kernel. */
function checkPlane(config: GatewayConfig, name: string, report: Report): void {
  for (const { path, why } of planeObstacles(config, name)) {
    report([...path], `${why} (listener "${name}" asks for \`plane: kernel\`)`);
  }
}

function checkService(
  known: ReadonlySet<string>,
  service: string,
  path: PropertyKey[],
  report: Report,
): void {
  if (known.has(service)) return;
  const names = [...known].slice(0, MAX_LISTED);
  const more = known.size > names.length ? `, and ${known.size - names.length} more` : '';
  const list = names.length > 0 ? `; there are: ${names.join(', ')}${more}` : '';
  report(path, `there is no service "${service}"${didYouMean(service, [...known])}${list}`);
}

/** Checks the services of a split; each has a place of its own. */
function checkSplit(
  known: ReadonlySet<string>,
  { split }: Route,
  path: PropertyKey[],
  report: Report,
): void {
  if (!split) return;
  const at = [...path, 'split', 'services'];
  for (const name of Object.keys(split.services)) checkService(known, name, [...at, name], report);
  const weights = Object.values(split.services);
  if (!weights.some((weight) => weight > 0)) report(at, 'needs a service with a weight above 0');
}

const ENDS = ['service', 'split', 'redirect', 'respond', 'stats'] as const;
const HTTP_ONLY = [
  'redirect',
  'respond',
  'stats',
  'rewrite',
  'headers',
  'rateLimit',
  'basicAuth',
  'timeouts',
  'maxBodyBytes',
  'errorPages',
] as const;

function checkRoute(
  protocol: Listener['protocol'],
  route: Route,
  path: PropertyKey[],
  report: Report,
): void {
  const ends = ENDS.filter((end) => route[end] !== undefined);
  if (ends.length !== 1) {
    report(path, 'needs exactly one of `service`, `split`, `redirect`, `respond` and `stats`');
  }
  if (route.stats?.admin && !route.basicAuth) {
    report([...path, 'stats', 'admin'], 'needs `basicAuth`');
  }
  const http = protocol === 'http' || protocol === 'https';
  for (const key of HTTP_ONLY) {
    if (!http && route[key] !== undefined)
      report([...path, key], `has no use with protocol ${protocol}`);
  }
  for (const key of ['host', 'path', 'method', 'header', 'query', 'cookie', 'not'] as const) {
    if (!http && route.match?.[key] !== undefined) {
      report([...path, 'match', key], `cannot be matched with protocol ${protocol}`);
    }
  }
  const by = route.split?.by;
  if (!http && by !== undefined && by !== 'source') {
    report([...path, 'split', 'by'], `only \`source\` is known with protocol ${protocol}`);
  }
  if (route.match?.sni !== undefined && (protocol === 'http' || protocol === 'tcp')) {
    report([...path, 'match', 'sni'], `there is no SNI with protocol ${protocol}`);
  }
  checkRouteRegexes(route, path, report);
  for (const [user, stored] of Object.entries(route.basicAuth?.users ?? {})) {
    const wrong = typeof stored === 'string' ? storedPasswordFault(stored) : undefined;
    if (wrong) report([...path, 'basicAuth', 'users', user], wrong);
  }
}

const SHA256 = /^\{SHA256\}[A-Za-z0-9+/]{43}=?$/;
const SCRYPT = /^\{SCRYPT\}(\d{1,7}):[A-Za-z0-9+/]+=*:[A-Za-z0-9+/]+=*$/;
const MAX_SCRYPT_COST = 2 ** 17;

/** What is wrong with a stored password that looks like a hash; it is never shown. */
function storedPasswordFault(stored: string): string | undefined {
  const cost = Number(SCRYPT.exec(stored)?.[1] ?? 0);
  const scrypt = cost > 1 && cost <= MAX_SCRYPT_COST && Number.isInteger(Math.log2(cost));
  if (SHA256.test(stored) || scrypt || isCryptHash(stored)) return undefined;
  if (!/^\{[A-Z0-9-]+\}|^\$\w+\$/.test(stored)) return undefined;
  return 'is a hash of a kind that is not known: `{SHA256}base64`, or `{SCRYPT}N:salt:hash` in base64 with N a power of 2 up to 131072, or one of crypt(3) or htpasswd: `$2y$` up to a cost of 10, `$6$` and `$5$` up to 100000 rounds, `$1$`, `$apr1$`, `{SHA}`, `{SSHA}`';
}

function checkFiles(config: GatewayConfig, io: ConfigIo, report: Report): void {
  for (const { path, file } of filePlaces(config)) {
    if (io.readFile(file) === undefined) report(path, unreadable(file, file, io));
  }
}
