import { chownSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import { dirname } from 'node:path';
import type { EngineServer } from '../../api/engine/engine-server.ts';
import { listenOnPath } from '../../api/unix-socket.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { splitHostPort } from '../../model/address.ts';
import type { NativeHandle } from '../../net/handles.ts';
import type { DaemonSettings } from './settings.ts';

/** Where the API listens, read from a `-H` value. */
export type EngineAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'fd'; readonly name: string };

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

async function listenUnix(server: Server, path: string, group: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  await listenOnPath(server, path);
  const gid = groupId(group);
  if (gid !== undefined && process.getuid?.() === 0) chownSync(path, statSync(path).uid, gid);
}

function listenTcp(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  });
}

function passed(
  name: string,
  descriptors: ReadonlyMap<string, NativeHandle>,
): readonly NativeHandle[] {
  if (name === '') return [...descriptors.values()];
  const handle = descriptors.get(name);
  return handle ? [handle] : [];
}

async function listenOn(
  api: EngineServer,
  address: EngineAddress,
  { tls, group }: DaemonSettings,
  descriptors: ReadonlyMap<string, NativeHandle>,
): Promise<void> {
  if (address.kind === 'unix') {
    await listenUnix(api.createServer(undefined), address.path, group);
    return;
  }
  if (address.kind === 'tcp') {
    const { host, port } = address;
    if (!tls && !isLoopback(host)) {
      throw new Error(
        'without TLS anybody who reaches it is root here; give --tlsverify with --tlscacert, --tlscert and --tlskey, or a loopback address',
      );
    }
    const read = (path: string) => readFileSync(path, 'utf8');
    const material = tls && { ca: read(tls.ca), cert: read(tls.cert), key: read(tls.key) };
    await listenTcp(api.createServer(material), host, port);
    return;
  }
  const handles = passed(address.name, descriptors);
  if (handles.length === 0) throw new Error('the service manager passed no such socket');
  for (const handle of handles) {
    await new Promise<void>((resolve, reject) => {
      const server = api.createServer(undefined);
      server.once('error', reject);
      // exempt(as): Node listens on its own handles, which its types do not say
      server.listen({ _handle: handle } as ListenOptions, resolve);
    });
  }
}

/** Serves the API on every address of the settings. Throws `E_BIND_FAILED`. */
export async function listenAll(
  api: EngineServer,
  settings: DaemonSettings,
  descriptors: ReadonlyMap<string, NativeHandle>,
  logger: Logger,
): Promise<void> {
  for (const text of settings.hosts) {
    const address = parseEngineAddress(text, settings.tls !== undefined);
    try {
      await listenOn(api, address, settings, descriptors);
    } catch (error) {
      throw new SluiceError(
        'E_BIND_FAILED',
        `cannot serve the Engine API on ${text}: ${errorText(error)}`,
        { cause: error },
      );
    }
    logger.info('Engine API listens', { host: text });
  }
}
