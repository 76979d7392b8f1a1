import type { ServicePort } from '../../model/cluster.ts';
import { HOST_PATTERN } from '../../model/route.ts';

type Labels = Readonly<Record<string, string>>;

/** Labels of Interlock. Source: its table of service labels. */
const LB = 'com.docker.lb.';
/** Labels of the HTTP routing mesh, one route or more each. Source: UCP 2.2, routing labels. */
const MESH = 'com.docker.ucp.mesh.http';
const LB_KEYS = [
  ...['hosts', 'port', 'network', 'context_root', 'context_root_rewrite', 'redirects'],
  ...['ssl_only', 'ssl_cert', 'ssl_key', 'ssl_passthrough', 'ssl_backend'],
  ...['ssl_backend_tls_verify', 'sticky_session_cookie', 'ip_hash', 'websocket_endpoints'],
  ...['backend_mode', 'service_cluster'],
];
const MESH_KEYS = ['external_route', 'internal_port', 'sticky_sessions', 'redirect'];
const PATH = /^\/[^*?#\s]*$/;
const COOKIE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** How endpoints of a service are spoken to, and how clients are kept on one. */
export type HttpTarget = {
  /** Of the tasks. */
  readonly port: number;
  readonly sticky: { readonly cookie: string } | 'source' | undefined;
  /** TLS towards tasks; `verified`: only with certificates that authorities vouch for. */
  readonly tls: 'none' | 'unverified' | 'verified';
};

/** What of requests a service takes, by its labels. */
export type HttpRule = {
  /** Lower case, each exact or `*.suffix`; by SNI where `on` is `passthrough`. */
  readonly hosts: readonly string[];
  /** Without a `/` at its end; empty: every path. */
  readonly path: string;
  /** Takes `path` off what tasks see. */
  readonly strip: boolean;
  /** Listeners that have it; `https-only`: those without TLS lead to the others. */
  readonly on: 'both' | 'http' | 'https' | 'https-only' | 'passthrough';
  /** An address, or tasks. */
  readonly to: { readonly redirect: string } | HttpTarget;
};

/** All that the labels of a service ask of gateways. */
export type HttpRules = {
  readonly rules: readonly HttpRule[];
  /** Names of secrets. */
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
  /** Listeners that take the rules; undefined: those that take every service's. */
  readonly edge: string | undefined;
  /** What is wrong with the labels, in words, each with its label's name. */
  readonly faults: readonly string[];
};

/** Whether gateways are to know a service by its labels. */
export function hasHttpLabels(labels: Labels): boolean {
  return Object.keys(labels).some(isHttpLabel);
}

function isHttpLabel(name: string): boolean {
  return name.startsWith(LB) || name === MESH || name.startsWith(`${MESH}.`);
}

/** Gathers what labels say wrongly. */
class Reader {
  readonly faults: string[] = [];
  readonly #ports: readonly ServicePort[];

  constructor(ports: readonly ServicePort[]) {
    this.#ports = ports;
  }

  wrong(label: string, value: string, valid: string): undefined {
    this.faults.push(`label ${label}: "${value}" is not ${valid}`);
  }

  /** Of the tasks; without a value the only TCP port that the service publishes. */
  port(label: string, text: string | undefined): number {
    const valid = 'a port; valid are 1 to 65535';
    if (text !== undefined) {
      const port = Number(text);
      if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
      this.wrong(label, text, valid);
      return 0;
    }
    const published = this.#ports.filter(({ transport }) => transport === 'tcp');
    const [first, ...more] = new Set(published.map(({ targetPort }) => targetPort));
    if (first !== undefined && more.length === 0) return first;
    const what = first === undefined ? 'no TCP port' : 'several TCP ports';
    this.faults.push(
      `label ${label} is missing: the service publishes ${what}, so it has to name that of its tasks`,
    );
    return 0;
  }

  flag(label: string, text: string | undefined): boolean {
    if (text === undefined || text === 'false') return false;
    if (text !== 'true') this.wrong(label, text, 'valid; valid are true and false');
    return text === 'true';
  }

  host(label: string, text: string): string[] {
    if (text.length <= 253 && HOST_PATTERN.test(text)) return [text.toLowerCase()];
    this.wrong(label, text, 'a host name without port, such as app.example.com or *.example.com');
    return [];
  }

  cookie(label: string, text: string | undefined): HttpTarget['sticky'] {
    if (text === undefined) return undefined;
    if (COOKIE.test(text)) return { cookie: text };
    return this.wrong(label, text, 'the name of a cookie');
  }

  /** Where a redirect leads: with the path and query asked for when it names none itself. */
  target(label: string, text: string): string | undefined {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (!url || !/^https?:$/.test(url.protocol) || /[{}\s]/.test(text)) {
      return this.wrong(label, text, 'an address such as https://www.example.com');
    }
    return url.pathname === '/' && url.search === '' ? `${url.origin}{uri}` : text;
  }
}

/** Reads both families of labels. `ports` are those that the service publishes. */
export function readHttpLabels(labels: Labels, ports: readonly ServicePort[]): HttpRules {
  const reader = new Reader(ports);
  const value = (key: string) => labels[LB + key];
  const names = Object.keys(labels).filter(isHttpLabel).sort();
  const ofMesh = names.filter((name) => !name.startsWith(LB));
  for (const name of names) {
    if (ofMesh.includes(name) || LB_KEYS.includes(name.slice(LB.length))) continue;
    reader.faults.push(`label ${name} is not known; valid are ${LB}{${LB_KEYS.join(', ')}}`);
  }
  const rules = ofMesh.flatMap((name) => meshRules(reader, name, labels[name] ?? ''));
  if (ofMesh.length < names.length) rules.unshift(...lbRules(reader, value));
  return {
    rules,
    certificate: certificateOf(reader, value('ssl_cert'), value('ssl_key')),
    edge: value('service_cluster') || undefined,
    faults: reader.faults,
  };
}

/** Names of the secrets that labels refer to. */
export function namedSecrets(labels: Labels): string[] {
  return ['ssl_cert', 'ssl_key'].flatMap((key) => labels[LB + key] || []);
}

type Value = (key: string) => string | undefined;

function certificateOf(reader: Reader, cert: string | undefined, key: string | undefined) {
  if (cert && key) return { cert, key };
  const missing = cert ? 'ssl_key' : 'ssl_cert';
  if (cert !== undefined || key !== undefined) {
    reader.faults.push(
      `label ${LB}${missing} is missing: ssl_cert and ssl_key name the two secrets of a certificate`,
    );
  }
  return undefined;
}

function lbRules(reader: Reader, value: Value): HttpRule[] {
  const names = (value('hosts') ?? '').split(',').map((one) => one.trim());
  const given = names.filter(Boolean);
  if (given.length === 0) {
    reader.faults.push(`label ${LB}hosts is missing: it names the hosts, such as app.example.com`);
  }
  const hosts = given.flatMap((one) => reader.host(`${LB}hosts`, one));
  const root = value('context_root') ?? '/';
  if (!PATH.test(root)) reader.wrong(`${LB}context_root`, root, 'a path such as /app');
  const path = root.replace(/\/+$/, '');
  const strip = reader.flag(`${LB}context_root_rewrite`, value('context_root_rewrite'));
  const only = reader.flag(`${LB}ssl_only`, value('ssl_only'));
  const passthrough = reader.flag(`${LB}ssl_passthrough`, value('ssl_passthrough'));
  const to = lbTarget(reader, value);
  const redirects = lbRedirects(reader, value('redirects'));
  if (passthrough && (path !== '' || redirects.length > 0)) {
    const what = path === '' ? 'redirects' : 'context_root';
    reader.faults.push(
      `label ${LB}${what} has no use beside ssl_passthrough, which leaves requests encrypted`,
    );
  }
  const on = passthrough ? 'passthrough' : only ? 'https-only' : 'both';
  return [...redirects, { hosts, path, strip: strip && path !== '', on, to }];
}

function lbTarget(reader: Reader, value: Value): HttpTarget {
  const tls = reader.flag(`${LB}ssl_backend`, value('ssl_backend'));
  const verify = value('ssl_backend_tls_verify') ?? 'none';
  if (verify !== 'none' && verify !== 'required') {
    reader.wrong(`${LB}ssl_backend_tls_verify`, verify, 'valid; valid are none and required');
  }
  const mode = value('backend_mode') ?? 'task';
  if (mode !== 'task' && mode !== 'vip') {
    reader.wrong(`${LB}backend_mode`, mode, 'valid; valid are task and vip');
  }
  const cookie = reader.cookie(`${LB}sticky_session_cookie`, value('sticky_session_cookie'));
  const byAddress = reader.flag(`${LB}ip_hash`, value('ip_hash'));
  return {
    port: reader.port(`${LB}port`, value('port')),
    sticky: cookie ?? (byAddress ? 'source' : undefined),
    tls: !tls ? 'none' : verify === 'required' ? 'verified' : 'unverified',
  };
}

/** Pairs of source and target, with `;` between them. */
function lbRedirects(reader: Reader, text: string | undefined): HttpRule[] {
  const label = `${LB}redirects`;
  const pairs = (text ?? '').split(';').filter((pair) => pair.trim() !== '');
  return pairs.flatMap((pair): HttpRule[] => {
    const [from = '', to, ...rest] = pair.split(',').map((one) => one.trim());
    const source = /^(https?):\/\/([^/?#]*)(\/[^*?#\s]*)?$/.exec(from);
    if (!source || to === undefined || rest.length > 0) {
      reader.wrong(label, pair, 'a pair such as http://old.example.com,http://www.example.com');
      return [];
    }
    const redirect = reader.target(label, to);
    const hosts = reader.host(label, source[2] ?? '');
    if (redirect === undefined) return [];
    const path = (source[3] ?? '').replace(/\/+$/, '');
    const on = source[1] === 'https' ? 'https' : 'http';
    return [{ hosts, path, strip: false, on, to: { redirect } }];
  });
}

/** Items of `port=http://host`, or one of `external_route=…` with what else is said of it. */
function meshRules(reader: Reader, label: string, text: string): HttpRule[] {
  const items = text.split(',').map((item): [string, string] => {
    const [left = '', right] = item.trim().split(/=(.*)/s, 2);
    return right === undefined ? ['', left] : [left, right];
  });
  if (!items.some(([key]) => MESH_KEYS.includes(key))) {
    return items.flatMap(([port, route]) => {
      return meshRule(reader, label, route, { internal_port: port || undefined });
    });
  }
  const unknown = items.find(([key]) => !MESH_KEYS.includes(key));
  if (unknown) {
    const what = unknown[0] || unknown[1];
    reader.wrong(label, what, `known; valid are ${MESH_KEYS.map((key) => `${key}=`).join(', ')}`);
  }
  const { external_route: route, ...rest } = Object.fromEntries(items);
  return meshRule(reader, label, route ?? '', rest);
}

function meshRule(
  reader: Reader,
  label: string,
  route: string,
  more: Readonly<Record<string, string | undefined>>,
): HttpRule[] {
  const [, scheme, name = ''] = /^(http|sni):\/\/(.*)$/s.exec(route) ?? [];
  if (scheme === undefined) {
    reader.wrong(label, route, 'a route; valid are http://HOST and sni://HOST');
    return [];
  }
  const hosts = reader.host(label, name);
  const base = { hosts, path: '', strip: false };
  const passthrough = scheme === 'sni';
  const useless = passthrough
    ? ['redirect', 'sticky_sessions'].find((key) => more[key] !== undefined)
    : undefined;
  if (useless !== undefined) {
    reader.faults.push(
      `label ${label}: ${useless} has no use beside sni://, which leaves requests encrypted`,
    );
  }
  if (more['redirect'] !== undefined && !passthrough) {
    const redirect = reader.target(label, more['redirect']);
    return redirect === undefined ? [] : [{ ...base, on: 'http', to: { redirect } }];
  }
  const port = reader.port(label, more['internal_port']);
  const sticky = passthrough ? undefined : reader.cookie(label, more['sticky_sessions']);
  const on = passthrough ? 'passthrough' : 'both';
  return [{ ...base, on, to: { port, sticky, tls: 'none' } }];
}
