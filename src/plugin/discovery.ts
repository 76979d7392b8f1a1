import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../base/errors.ts';
import { failed } from '../base/faults.ts';

/** Where a plugin listens. */
export type PluginAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | {
      readonly kind: 'tls';
      readonly host: string;
      readonly port: number;
      /** PEM files; undefined: not given. */
      readonly ca: string | undefined;
      readonly cert: string | undefined;
      readonly key: string | undefined;
      readonly verify: boolean;
    };

/** Searched in this order; a socket wins over a file that names an address. */
export const PLUGIN_FOLDERS = [
  '/run/docker/plugins',
  '/etc/docker/plugins',
  '/usr/lib/docker/plugins',
] as const;

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/;
const MAX_NAME = 128;
const MAX_FILE_BYTES = 64 * 1024;
const HTTP_PORT = 80;
const HTTPS_PORT = 443;

/** Whether a name can be a plugin's: it becomes part of a path. */
export function isPluginName(name: string): boolean {
  return NAME.test(name) && name.length <= MAX_NAME;
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}

function read(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return undefined;
  if (stat.size > MAX_FILE_BYTES) throw failed(`${path} is larger than ${MAX_FILE_BYTES} bytes`);
  return readFileSync(path, 'utf8');
}

/** Reads `unix://PATH`, `tcp://HOST:PORT`, `http://…` and `https://…`. */
function parseAddress(text: string, tls: Record<string, unknown>, path: string): PluginAddress {
  const wrong = (why: string) =>
    failed(`${path}: "${text}" ${why}; valid are unix://PATH, tcp://HOST:PORT and https://HOST`);
  if (text.startsWith('unix://')) {
    const socket = text.slice('unix://'.length);
    if (!socket.startsWith('/')) throw wrong('is not an absolute path');
    return { kind: 'unix', path: socket };
  }
  const url = URL.parse(text);
  if (!url || !['tcp:', 'http:', 'https:'].includes(url.protocol)) throw wrong('is no address');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const secure = url.protocol === 'https:' || Object.keys(tls).length > 0;
  const port = url.port === '' ? (secure ? HTTPS_PORT : HTTP_PORT) : Number(url.port);
  if (!secure) return { kind: 'tcp', host, port };
  const file = (key: string) => {
    const value = tls[key];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return {
    ...{ kind: 'tls', host, port, verify: tls['InsecureSkipVerify'] !== true },
    ...{ ca: file('CAFile'), cert: file('CertFile'), key: file('KeyFile') },
  };
}

function parseJson(path: string, text: string): PluginAddress {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw failed(`${path} is not JSON: ${errorText(error)}`);
  }
  const { Addr, TLSConfig } = Object(value);
  if (typeof Addr !== 'string') throw failed(`${path} has no text "Addr"`);
  return parseAddress(Addr, Object(TLSConfig ?? {}), path);
}

/**
 * Where the plugin of a name listens: `NAME.sock`, `NAME.spec` (an address) or `NAME.json`, in
 * one of the folders or in a folder `NAME` below it. Undefined: there is none. Throws for a file
 * that cannot be understood.
 */
export function findPlugin(folders: readonly string[], name: string): PluginAddress | undefined {
  if (!isPluginName(name)) return undefined;
  const paths = (suffix: string) =>
    folders.flatMap((folder) => [
      join(folder, `${name}.${suffix}`),
      join(folder, name, `${name}.${suffix}`),
    ]);
  for (const path of paths('sock')) if (isSocket(path)) return { kind: 'unix', path };
  for (const path of paths('spec')) {
    const text = read(path);
    if (text !== undefined) return parseAddress(text.trim(), {}, path);
  }
  for (const path of paths('json')) {
    const text = read(path);
    if (text !== undefined) return parseJson(path, text);
  }
  return undefined;
}

/** Names of the plugins that could be found, sorted. */
export function listPlugins(folders: readonly string[]): string[] {
  const names = new Set<string>();
  for (const folder of folders) {
    let entries: string[];
    try {
      entries = readdirSync(folder);
    } catch {
      continue;
    }
    for (const entry of entries) {
      const [, name] = /^(.+)\.(?:sock|spec|json)$/.exec(entry) ?? [undefined, entry];
      if (name !== undefined && isPluginName(name)) names.add(name);
    }
  }
  return [...names].sort();
}
