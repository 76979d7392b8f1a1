import { eligible } from '../health/eligible.ts';
import { type Bind, formatBind, splitHostPort } from '../model/address.ts';
import type { ServiceState } from '../model/endpoint-state.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { Listener } from '../model/listener.ts';
import type { Route } from '../model/route.ts';
import { Matcher } from './http/matcher.ts';
import { l4Matcher } from './l4/l4-routes.ts';
import { AddressRules } from './listener/address-rules.ts';
import type { PlaneState } from './plane/kernel-plane.ts';

/** A request that nobody has sent yet. */
export type Question = {
  readonly listen: string;
  readonly host?: string | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly sni?: string | undefined;
  readonly source?: string | undefined;
};

const NO_PANIC = { panic: 'none' } as const;
const WILDCARDS = ['0.0.0.0', '::'];
const ENCRYPTED = ['https', 'tls', 'tls-passthrough'];

function covers(bind: Bind, asked: string): boolean {
  if (bind.kind !== 'ip') return formatBind(bind) === asked;
  const address = splitHostPort(asked);
  if (!address || bind.port !== Number(address.port)) return false;
  const host = address.host === 'localhost' ? '127.0.0.1' : address.host;
  if (bind.dualStack || bind.host === host || host === '' || host === '*') return true;
  // The wildcard of a family takes the addresses of that family.
  return WILDCARDS.includes(bind.host) && bind.host.includes(':') === host.includes(':');
}

/** Says step by step which listeners, routes, services and endpoints a request would take, and why. */
export function explain(
  config: GatewayConfig,
  states: readonly ServiceState[],
  question: Question,
  planeOf?: (listener: string) => PlaneState,
): string[] {
  const { listen } = question;
  const all = Object.entries(config.listeners);
  const found = all.filter(([, { bind }]) => bind.some((one) => covers(one, listen)));
  if (found.length > 0) {
    return found.flatMap(([name, listener]) => {
      const steps = [`listener ${name} (${listener.protocol}) takes ${listen}`];
      return [
        ...steps,
        ...explainPlane(listener, planeOf?.(name)),
        ...explainListener(config, states, listener, question),
      ];
    });
  }
  if (!/^(unix:|fd:)/.test(listen) && !splitHostPort(listen)) {
    return [`"${listen}" is not HOST:PORT, unix:/PATH or fd:NAME`];
  }
  const others = all.map(([name, { bind }]) => `${name}: ${bind.map(formatBind).join(' ')}`);
  return [`no listener takes ${listen}`, ...others.map((other) => `there is ${other}`)];
}

function explainPlane({ protocol }: Listener, state: PlaneState | undefined): string[] {
  if (!state || (protocol !== 'tcp' && protocol !== 'udp')) return [];
  const { plane, reason } = state;
  if (plane === 'user') return [`sockets carry it, not the kernel: ${reason}`];
  const until = reason === '' ? '' : `, until the agent is back: ${reason}`;
  return [`the kernel carries it; what comes over the loopback, sockets do${until}`];
}

function explainListener(
  config: GatewayConfig,
  states: readonly ServiceState[],
  listener: Listener,
  question: Question,
): string[] {
  const { protocol, routes, access, tls, acceptProxy } = listener;
  const source = question.source ?? '127.0.0.1';
  if (!new AddressRules(access).allows(source)) {
    return [`access: ${source} is not let in, the connection is closed`];
  }
  const steps: string[] = [];
  if (acceptProxy) {
    steps.push(`a PROXY header is required, from ${acceptProxy.from.join(', ')} only`);
  }
  if (tls?.clientAuth?.mode === 'require') steps.push('a client certificate is required');
  if (tls?.strictSni && question.sni === undefined) {
    return [...steps, 'no server name is sent and strictSni is on: the handshake is refused'];
  }
  if (question.sni !== undefined && !ENCRYPTED.includes(protocol)) {
    steps.push(`the server name has no meaning with protocol ${protocol}`);
  }
  const http = protocol === 'http' || protocol === 'https';
  const matcher = http ? new Matcher(routes) : l4Matcher(listener);
  const path = question.path ?? '/';
  const mark = path.indexOf('?');
  const info = {
    method: question.method ?? 'GET',
    authority: (question.host ?? question.sni ?? '').toLowerCase(),
    path: mark < 0 ? path : path.slice(0, mark),
    query: mark < 0 ? undefined : path.slice(mark + 1),
    headers: [],
    source,
    sni: question.sni?.toLowerCase(),
    live: (service: string) =>
      eligible(states.find((one) => one.service === service)?.endpoints ?? [], NO_PANIC).length,
  };
  for (const { route, failed } of matcher.explain(info)) {
    const why = failed.length === 0 ? 'matches' : `does not match: ${failed.join(', ')}`;
    steps.push(`route ${route} ${why}`);
  }
  const route = matcher.match(info)?.route;
  if (route) return [...steps, ...explainRoute(config, states, route, source)];
  if (listener.service === undefined) {
    const end = http ? 'the answer is 404' : 'the connection is closed';
    return [...steps, `no route matches and there is no default service: ${end}`];
  }
  steps.push(`service ${listener.service} (the default)`);
  return [...steps, ...explainEndpoints(config, states, listener.service)];
}

function explainRoute(
  config: GatewayConfig,
  states: readonly ServiceState[],
  route: Route,
  source: string,
): string[] {
  const { access, basicAuth, rateLimit, redirect, respond, split, stats, service } = route;
  if (!new AddressRules(access).allows(source)) {
    return [`access: ${source} is not let in by the route: the answer is 403`];
  }
  const steps: string[] = [];
  if (basicAuth) steps.push('a password is required, else the answer is 401');
  if (rateLimit) {
    const by = rateLimit.by === 'source' ? 'source' : rateLimit.by.header;
    steps.push(
      `at most ${rateLimit.requests} in ${rateLimit.per} ms by ${by}, else ${rateLimit.status}`,
    );
  }
  if (redirect) return [...steps, `answers a redirect to ${redirect.to}`];
  if (respond) return [...steps, `answers ${respond.status}`];
  if (stats) return [...steps, 'answers with statistics'];
  if (service !== undefined) {
    return [...steps, `service ${service}`, ...explainEndpoints(config, states, service)];
  }
  const parts = Object.entries(split?.services ?? {});
  steps.push(`splits by weight: ${parts.map(([to, weight]) => `${to} ${weight}`).join(', ')}`);
  const each = parts.filter(([, weight]) => weight > 0);
  const ends = each.flatMap(([to]) => [`service ${to}`, ...explainEndpoints(config, states, to)]);
  return [...steps, ...ends];
}

function explainEndpoints(
  config: GatewayConfig,
  states: readonly ServiceState[],
  service: string,
): string[] {
  const endpoints = states.find((state) => state.service === service)?.endpoints ?? [];
  const settings = config.services[service];
  const taken = new Set(
    eligible(
      endpoints.filter(({ weight }) => weight > 0),
      { panic: settings?.panic ?? 'none' },
    ),
  );
  const lines = endpoints.map((endpoint) => {
    if (taken.has(endpoint))
      return `endpoint ${endpoint.id} may be picked (weight ${endpoint.weight})`;
    const why = endpoint.admin !== 'ready' ? `admin state ${endpoint.admin}` : endpoint.reason;
    return `endpoint ${endpoint.id} not: ${why || (endpoint.backup ? 'backup, not needed' : 'weight 0')}`;
  });
  if (taken.size > 0)
    lines.push(`one of ${taken.size} is chosen by ${settings?.balance.algorithm}`);
  else lines.push('no endpoint can take it: the answer is 503');
  return lines;
}
