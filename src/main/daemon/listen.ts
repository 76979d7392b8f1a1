import { lookup } from 'node:dns/promises';
import { chownSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { EngineServer, EngineTls } from '../../api/engine/engine-server.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { formatHostPort, splitHostPort } from '../../model/address.ts';
import { bindExclusive, type NativeHandle, removePath } from '../../net/handles.ts';
import { answers } from '../../net/unix-socket.ts';
import { Front } from './front.ts';
import type { DaemonSettings } from './settings.ts';

/** Where the API listens, read from a `-H` value. */
export type EngineAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'fd'; readonly name: string };

/** Sockets that this process was given. */
export type EngineSockets = {
  /** Of the service manager, by name. */
  readonly descriptors: ReadonlyMap<string, NativeHandle>;
  /** Of the daemon before, by their keys. */
  readonly inherited: ReadonlyMap<string, NativeHandle>;
};

/** Begins the keys of sockets in the file system. */
const UNIX = 'unix:';
const PLAIN_PORT = 2375;
const TLS_PORT = 2376;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** Reads `unix:///PATH`, `tcp://[HOST][:PORT]`, `HOST:PORT` and `fd://[NAME]`. */
export function parseEngineAddress(text: string, tls: boolean): EngineAddress {
  const [, scheme = 'tcp', rest = ''] = /^(?:(\w+):\/\/)?(.*)$/.exec(text) ?? [];
  if (scheme === 'unix' && rest.startsWith('/')) return { kind: 'unix', path: rest };
  if (scheme === 'fd') return { kind: 'fd', name: rest === '*' ? '' : rest };
  const usual = tls ? TLS_PORT : PLAIN_PORT;
  const parts = splitHostPort(/:\d+$/.test(rest) ? rest : `${rest}:${usual}`);
  const port = Number(parts?.port);
  if (scheme !== 'tcp' || !parts || !(port >= 0 && port <= 65_535)) {
    throw invalid(
      `invalid host "${text}": give unix:///PATH, tcp://HOST:PORT or fd:// (socket activation)`,
    );
  }
  return { kind: 'tcp', host: parts.host || (tls ? '0.0.0.0' : '127.0.0.1'), port };
}

function groupId(name: string): number | undefined {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${name}:`));
  const [, , number] = line?.split(':') ?? [];
  return number === undefined ? undefined : Number(number);
}

/** A socket with mode 0660 for the group. A live one there, and any other file, is refused. */
async function bindUnix(path: string, group: string): Promise<NativeHandle> {
  mkdirSync(dirname(path), { recursive: true });
  if (await answers(path)) throw new Error('another process answers there');
  const handle = bindExclusive({ kind: 'unix', path });
  const gid = groupId(group);
  if (gid !== undefined && process.getuid?.() === 0) chownSync(path, statSync(path).uid, gid);
  return handle;
}

async function bindTcp(host: string, port: number): Promise<NativeHandle> {
  const { address } = await lookup(host);
  return bindExclusive({ kind: 'ip', host: address, port, dualStack: false });
}

function passed(
  name: string,
  descriptors: ReadonlyMap<string, NativeHandle>,
): readonly NativeHandle[] {
  const found = name === '' ? [...descriptors.values()] : [descriptors.get(name)];
  const handles = found.flatMap((handle) => handle ?? []);
  if (handles.length === 0) throw new Error('the service manager passed no such socket');
  return handles;
}

function readTls({ tls }: DaemonSettings): EngineTls | undefined {
  const read = (path: string) => readFileSync(path, 'utf8');
  return tls && { ca: read(tls.ca), cert: read(tls.cert), key: read(tls.key) };
}

/** Sockets of an address, by their keys. */
async function socketsOf(
  address: EngineAddress,
  { group, tls }: DaemonSettings,
  { descriptors, inherited }: EngineSockets,
): Promise<ReadonlyMap<string, NativeHandle>> {
  if (address.kind === 'fd') {
    const prefix = `fd:${address.name}#`;
    const kept = [...inherited].filter(([key]) => key.startsWith(prefix));
    if (kept.length > 0) return new Map(kept);
    const handles = passed(address.name, descriptors);
    return new Map(handles.map((handle, index) => [`${prefix}${index}`, handle]));
  }
  if (address.kind === 'tcp' && !tls && !isLoopback(address.host)) {
    throw new Error(
      'without TLS anybody who reaches it is root here; give --tlsverify with --tlscacert, --tlscert and --tlskey, or a loopback address',
    );
  }
  const unix = address.kind === 'unix';
  const key = unix ? `${UNIX}${address.path}` : `tcp:${formatHostPort(address.host, address.port)}`;
  const bind = () => (unix ? bindUnix(address.path, group) : bindTcp(address.host, address.port));
  return new Map([[key, inherited.get(key) ?? (await bind())]]);
}

/**
 * Serves the API on every address of the settings; what is inherited and not among them is closed.
 * Throws `E_BIND_FAILED`, and then nothing is left open.
 */
export async function openFronts(
  api: EngineServer,
  settings: DaemonSettings,
  sockets: EngineSockets,
  logger: Logger,
): Promise<Front[]> {
  const fronts: Front[] = [];
  for (const text of settings.hosts) {
    const address = parseEngineAddress(text, settings.tls !== undefined);
    const path = address.kind === 'unix' ? address.path : undefined;
    try {
      const tls = address.kind === 'tcp' ? readTls(settings) : undefined;
      for (const [key, handle] of await socketsOf(address, settings, sockets)) {
        fronts.push(await Front.open(key, handle, api.createServer(tls), path));
      }
    } catch (error) {
      for (const front of fronts) {
        if (sockets.inherited.has(front.key)) front.abandon();
        else front.close();
      }
      const why = `cannot serve the Engine API on ${text}: ${errorText(error)}`;
      throw new SluiceError('E_BIND_FAILED', why, { cause: error });
    }
    logger.info('Engine API listens', { host: text });
  }
  const used = new Set(fronts.map(({ key }) => key));
  for (const [key, handle] of sockets.inherited) {
    if (used.has(key)) continue;
    handle.close();
    if (key.startsWith(UNIX)) removePath(key.slice(UNIX.length));
  }
  return fronts;
}
