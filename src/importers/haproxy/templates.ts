import { Inexpressible } from './formula.ts';
import type { RuleSource } from './rules.ts';

const NAMES: Readonly<Record<string, string>> = {
  ci: '{client}',
  cp: '{clientPort}',
  ID: '{requestId}',
  HM: '{method}',
  HP: '{path}',
  HQ: '{search}',
  HU: '{uri}',
  HPO: '{path}',
};

const FETCHES: Readonly<Record<string, string>> = {
  src: '{client}',
  src_port: '{clientPort}',
  'unique-id': '{requestId}',
  path: '{path}',
  query: '{query}',
  url: '{uri}',
  pathq: '{uri}',
  method: '{method}',
  'capture.req.uri': '{uri}',
  'capture.req.method': '{method}',
};

/**
 * A log format string as a template of ours. Throws `Inexpressible` at what a template cannot say.
 * Source: HAProxy 2.6 manual, section 8.2.4.
 */
export function templateOf(format: string, source: RuleSource): string {
  return format.replaceAll(
    /%%|%(?:\{[^}]*\})?\[((?:[^\][]|\[[^\]]*\])*)\]|%(?:\{[^}]*\})?([A-Za-z]+)/g,
    (whole, fetch: string | undefined, name: string | undefined) => {
      if (whole === '%%') return '%';
      const value = fetch === undefined ? NAMES[name ?? ''] : fetched(fetch.trim(), source);
      if (value === undefined) throw new Inexpressible(`a template cannot say ${whole}`);
      return value;
    },
  );
}

/** What stands for a sample expression; undefined: a template cannot say it. */
export function fetched(expression: string, source: RuleSource): string | undefined {
  const slot = /^capture\.req\.hdr\((\d+)\)$/.exec(expression)?.[1];
  const captured = slot === undefined ? undefined : source.captured(Number(slot));
  if (captured !== undefined) return fetched(captured, source);
  const value = /^(?:req\.)?(cook|cookie|urlp|url_param)\(([\w.-]+)\)$/.exec(expression);
  if (value) return `{${value[1]?.startsWith('cook') ? 'cookie' : 'query'}.${value[2]}}`;
  const variable = /^var\(([\w.]+)\)$/.exec(expression)?.[1];
  const known = variable === undefined ? expression : source.variable(variable);
  if (known === undefined) return undefined;
  const header = /^(?:req\.)?f?hdr\(([\w-]+)(?:,-?1)?\)(,lower|,host_only)?$/.exec(known);
  if (header) {
    const name = (header[1] ?? '').toLowerCase();
    if (header[2] === ',host_only') return name === 'host' ? '{host}' : undefined;
    return name === 'host' ? '{authority}' : `{header.${name}}`;
  }
  const host = /^(?:req\.)?hdr\(host\),field\(1,:\)(?:,lower)?$/i.test(known);
  if (host) return '{host}';
  const text = /^str\((.*)\)$/.exec(known)?.[1];
  if (text !== undefined) return text.replace(/^(['"])(.*)\1$/, '$2');
  const { encrypted, ports } = source.situation;
  const choice = /^ssl_fc,iif\(([^,]*),([^)]*)\)$/.exec(known);
  if (choice) return encrypted ? choice[1] : choice[2];
  if (known === 'ssl_fc') return encrypted ? '1' : '0';
  if (known === 'dst_port' || known === 'fc_dst_port') {
    return ports.length === 1 ? String(ports[0]) : undefined;
  }
  return Object.hasOwn(FETCHES, known) ? FETCHES[known] : undefined;
}
