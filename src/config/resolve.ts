import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ConfigIo } from './io.ts';

type Report = (path: PropertyKey[], message: string) => void;

/** Every place of a configuration that names a file, with a way to change it. */
export function filePlaces(
  config: GatewayConfig,
): { path: PropertyKey[]; file: string; set(file: string): void }[] {
  const places: { path: PropertyKey[]; file: string; set(file: string): void }[] = [];
  const add = <K extends string>(
    path: PropertyKey[],
    holder: { [P in K]?: string | undefined } | undefined,
    key: K,
  ) => {
    const file = holder?.[key];
    if (!holder || file === undefined) return;
    places.push({
      path: [...path, key],
      file,
      set: (next) => {
        holder[key] = next as (typeof holder)[K];
      },
    });
  };
  for (const [name, listener] of Object.entries(config.listeners)) {
    const at = ['listeners', name];
    for (const [index, pair] of (listener.tls?.certificates ?? []).entries()) {
      add([...at, 'tls', 'certificates', index], pair, 'cert');
      add([...at, 'tls', 'certificates', index], pair, 'key');
    }
    add([...at, 'tls', 'clientAuth'], listener.tls?.clientAuth, 'ca');
    add([...at, 'tls', 'clientAuth'], listener.tls?.clientAuth, 'crl');
    for (const [code, page] of Object.entries(listener.errorPages ?? {})) {
      add([...at, 'errorPages', code], page, 'file');
    }
    for (const [index, route] of listener.routes.entries()) {
      add([...at, 'routes', index, 'respond'], route.respond, 'file');
      for (const [code, page] of Object.entries(route.errorPages ?? {})) {
        add([...at, 'routes', index, 'errorPages', code], page, 'file');
      }
    }
  }
  for (const [name, service] of Object.entries(config.services)) {
    for (const key of ['ca', 'cert', 'key'] as const)
      add(['services', name, 'tls'], service.tls, key);
  }
  return places;
}

/** Makes every file name absolute, each by the place that names it. */
export function resolvePaths(
  config: GatewayConfig,
  absolute: (place: PropertyKey[], file: string) => string,
): GatewayConfig {
  for (const place of filePlaces(config)) place.set(absolute(place.path, place.file));
  for (const [name, { discover }] of Object.entries(config.services)) {
    if (!discover || !('file' in discover)) continue;
    const at = ['services', name, 'discover', 'file', 'path'];
    discover.file.path = absolute(at, discover.file.path);
  }
  for (const { path, secret } of secretPlaces(config)) {
    if (typeof secret === 'object' && 'file' in secret) secret.file = absolute(path, secret.file);
  }
  return config;
}

type Secret = NonNullable<NonNullable<GatewayConfig['admin']>['token']>;

function textOf(secret: Secret, io: ConfigIo, report: (message: string) => void): string {
  if (typeof secret === 'string') return secret;
  if ('env' in secret) return io.env[secret.env] ?? '';
  const text = io.readFile(secret.file);
  if (text === undefined) report(`cannot read the secret's file ${secret.file}`);
  return (text ?? '').trim();
}

/** Puts the texts of secrets in their places. */
export function resolveSecrets(config: GatewayConfig, io: ConfigIo, report: Report): void {
  for (const { path, secret, set } of secretPlaces(config)) {
    const text = textOf(secret, io, (message) => report(path, message));
    set(text);
    // An unset token of Consul is no token: its own tools read it that way. Anything else would
    // leave open what was meant to be closed.
    const may = path[0] === 'discovery' || (typeof secret === 'string' && path[0] !== 'admin');
    if (text !== '' || may) continue;
    const unset = typeof secret === 'object' && 'env' in secret;
    report(path, unset ? `the environment has no ${secret.env}` : 'the secret is empty');
  }
  const { cookieKey } = config;
  if (typeof cookieKey === 'string' && cookieKey !== '' && cookieKey.length < MIN_COOKIE_KEY) {
    report(['cookieKey'], `must be at least ${MIN_COOKIE_KEY} characters long`);
  }
}

const MIN_COOKIE_KEY = 16;
const REDACTED = '[redacted]';
/** Names of headers whose values are not shown. */
export const SECRET_HEADER = /^(?:proxy-)?authorization$|^(?:set-)?cookie$|token|secret|api-?key/;

/** Every place of a configuration that holds a secret, with a way to change it. */
export function secretPlaces(
  config: GatewayConfig,
): { path: PropertyKey[]; secret: Secret; set(text: string): void }[] {
  const places: { path: PropertyKey[]; secret: Secret; set(text: string): void }[] = [];
  const add = (path: PropertyKey[], holder: object | undefined, key: string) => {
    const secret = (holder as Record<string, Secret | undefined> | undefined)?.[key];
    if (!holder || secret === undefined) return;
    const set = (text: string) => Object.assign(holder, { [key]: text });
    places.push({ path: [...path, key], secret, set });
  };
  const addHeaders = (path: PropertyKey[], holder: Record<string, string> | undefined) => {
    for (const name of Object.keys(holder ?? {})) {
      if (SECRET_HEADER.test(name)) add(path, holder, name);
    }
  };
  add([], config, 'cookieKey');
  add(['admin'], config.admin, 'token');
  add(['discovery', 'consul'], config.discovery.consul, 'token');
  for (const [name, listener] of Object.entries(config.listeners)) {
    for (const [index, { basicAuth, headers, respond }] of listener.routes.entries()) {
      const at = ['listeners', name, 'routes', index];
      const users = basicAuth?.users;
      for (const user of Object.keys(users ?? {})) add([...at, 'basicAuth', 'users'], users, user);
      for (const how of ['set', 'add'] as const) {
        addHeaders([...at, 'headers', 'request', how], headers?.request?.[how]);
        for (const [place, edits] of (headers?.response ?? []).entries()) {
          addHeaders([...at, 'headers', 'response', place, how], edits[how]);
        }
      }
      addHeaders([...at, 'respond', 'headers'], respond?.headers);
    }
  }
  for (const [name, { health }] of Object.entries(config.services)) {
    if (health && 'headers' in health)
      addHeaders(['services', name, 'health', 'headers'], health.headers);
  }
  return places;
}

/** A copy without secrets, for people to read. */
export function redact(config: GatewayConfig): GatewayConfig {
  const copy = structuredClone(config);
  for (const place of secretPlaces(copy)) place.set(REDACTED);
  return copy;
}
