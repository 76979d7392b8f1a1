import { eligible } from '../health/eligible.ts';
import { splitHostPort } from '../model/address.ts';
import type { ServiceState } from '../model/endpoint-state.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { Listener } from '../model/listener.ts';
import { Matcher } from './http/matcher.ts';
import { l4Matcher } from './l4/l4-routes.ts';

/** A request that nobody has sent yet. */
export type Question = {
  readonly listen: string;
  readonly host?: string | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly sni?: string | undefined;
  readonly source?: string | undefined;
};

function takes(listener: Listener, host: string, port: number): boolean {
  return listener.bind.some((bind) => {
    if (bind.kind !== 'ip' || bind.port !== port) return false;
    return bind.dualStack || bind.host === host || bind.host === '0.0.0.0' || bind.host === '::';
  });
}

/** Says step by step which listener, route, service and endpoints a request would take, and why. */
export function explain(
  config: GatewayConfig,
  states: readonly ServiceState[],
  question: Question,
): string[] {
  const address = splitHostPort(question.listen);
  if (!address) return [`"${question.listen}" is not HOST:PORT`];
  const found = Object.entries(config.listeners).find(([, listener]) =>
    takes(listener, address.host, Number(address.port)),
  );
  if (!found) return [`no listener takes ${question.listen}`];
  const [name, listener] = found;
  const steps = [`listener ${name} (${listener.protocol}) takes ${question.listen}`];
  const path = question.path ?? '/';
  const mark = path.indexOf('?');
  const http = listener.protocol === 'http' || listener.protocol === 'https';
  const matcher = http ? new Matcher(listener.routes) : l4Matcher(listener);
  const info = {
    method: question.method ?? 'GET',
    authority: (question.host ?? question.sni ?? '').toLowerCase(),
    path: mark < 0 ? path : path.slice(0, mark),
    query: mark < 0 ? undefined : path.slice(mark + 1),
    headers: [],
    source: question.source ?? '127.0.0.1',
    sni: question.sni?.toLowerCase(),
  };
  for (const { route, failed } of matcher.explain(info)) {
    steps.push(
      failed.length === 0
        ? `route ${route} matches`
        : `route ${route} does not match: ${failed.join(', ')}`,
    );
  }
  const route = matcher.match(info)?.route;
  if (route?.redirect) return [...steps, `answers a redirect to ${route.redirect.to}`];
  if (route?.respond) return [...steps, `answers ${route.respond.status}`];
  if (route?.split) {
    const parts = Object.entries(route.split.services);
    steps.push(`splits by weight: ${parts.map(([to, weight]) => `${to} ${weight}`).join(', ')}`);
    const each = parts.filter(([, weight]) => weight > 0);
    return [
      ...steps,
      ...each.flatMap(([to]) => [`service ${to}`, ...explainEndpoints(config, states, to)]),
    ];
  }
  const service = route ? route.service : listener.service;
  if (service === undefined) return [...steps, 'no route matches and there is no default service'];
  steps.push(`service ${service}${route ? '' : ' (the default)'}`);
  return [...steps, ...explainEndpoints(config, states, service)];
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
