import { chmodSync, lstatSync, renameSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SluiceError } from '../base/errors.ts';
import { type Bind, formatBind } from '../model/address.ts';

/** A socket below Node's public API: bound, not listening, and able to travel to a child process. */
export type NativeHandle = {
  readonly fd: number;
  close(): void;
};

type Binding = Record<string, never> & {
  TCP?: new (type: number) => TcpHandle;
  UDP?: new () => UdpHandle;
  Pipe?: new (type: number) => PipeHandle;
};
type TcpHandle = NativeHandle & {
  bind(host: string, port: number, flags: number): number;
  bind6(host: string, port: number, flags: number): number;
  open(fd: number): number;
  getsockname(out: object): number;
};
type UdpHandle = TcpHandle;
type PipeHandle = { fd: number; close(): void; bind(path: string): number };

// Node's public API can only bind and accept in one step, and the supervisor must not accept.
// exempt(as): process.binding has no types; the shapes above are Node's tcp_wrap, udp_wrap, pipe_wrap.
const binding = (process as unknown as { binding(name: string): Binding }).binding;

const SERVER = 1;
const IPV6_ONLY = 1;
const TCP_REUSEPORT = 2;
const UDP_REUSEPORT = 64;
const PRIVATE_MODE = '660';

const CAUSES: Readonly<Record<number, string>> = {
  [-98]: 'another process listens there',
  [-13]: 'permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE',
  [-99]: 'this host does not have that address',
};

function failed(bind: Bind, result: number): SluiceError {
  const cause = CAUSES[result] ?? `system error ${-result}`;
  return new SluiceError('E_BIND_FAILED', `cannot listen on ${formatBind(bind)}: ${cause}`);
}

function bindAddress(handle: TcpHandle, bind: Extract<Bind, { kind: 'ip' }>, flags: number): void {
  const result = bind.host.includes(':')
    ? handle.bind6(bind.host, bind.port, flags | (bind.dualStack ? 0 : IPV6_ONLY))
    : handle.bind(bind.host, bind.port, flags);
  // libuv holds an address in use back until the next call on the handle.
  const actual = result === 0 ? handle.getsockname({}) : result;
  if (actual === 0) return;
  handle.close();
  throw failed(bind, actual);
}

function create<T>(name: 'TCP' | 'UDP' | 'Pipe', type: number): T {
  const module = binding({ TCP: 'tcp_wrap', UDP: 'udp_wrap', Pipe: 'pipe_wrap' }[name]);
  const Handle = module[name] as unknown as new (type: number) => T;
  return new Handle(type);
}

/** Opens a descriptor that this process was started with, whatever kind of socket it is. */
export function openDescriptor(fd: number): NativeHandle {
  const handle = create<TcpHandle>('TCP', SERVER);
  // The kind matters to whoever accepts only, and is found out anew when the handle travels there.
  handle.open(fd);
  return handle;
}

function passed(
  bind: Extract<Bind, { kind: 'fd' }>,
  descriptors: ReadonlyMap<string, NativeHandle>,
): NativeHandle {
  const handle = descriptors.get(bind.name);
  if (handle) return handle;
  const names = [...descriptors.keys()].join(', ') || 'none';
  throw new SluiceError(
    'E_BIND_FAILED',
    `cannot listen on fd:${bind.name}: the service manager passed no such socket (passed: ${names})`,
  );
}

let temporaryPaths = 0;

/**
 * Binds beside the path and moves the socket there: clients find the old one or the new one, and
 * closing the old one does not take the new one's file away: `removePath` does.
 */
function bindPath(bind: Extract<Bind, { kind: 'unix' }>): NativeHandle {
  const { path, mode } = bind;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) {
    throw new SluiceError('E_BIND_FAILED', `cannot listen on unix:${path}: it is not a socket`);
  }
  const beside = join(dirname(path), `.${process.pid}-${temporaryPaths++}`);
  const pipe = create<PipeHandle>('Pipe', SERVER);
  const result = pipe.bind(beside);
  if (result !== 0) throw failed(bind, result);
  if (mode !== undefined) chmodSync(beside, Number.parseInt(mode, 8));
  renameSync(beside, path);
  return pipe;
}

/** Takes the file of a unix socket away, at the end of whoever listens there. */
export function removePath(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket()) unlinkSync(path);
}

/**
 * Binds a stream socket in the SO_REUSEPORT group of its address. Throws `E_BIND_FAILED`. A socket
 * file at a unix path is replaced; anything else there is refused. A passed descriptor is not opened
 * anew: its handle is the one in `descriptors`, which stays open.
 */
export function bindStream(
  bind: Bind,
  descriptors: ReadonlyMap<string, NativeHandle>,
): NativeHandle {
  if (bind.kind === 'unix') return bindPath(bind);
  if (bind.kind === 'fd') return passed(bind, descriptors);
  const handle = create<TcpHandle>('TCP', SERVER);
  bindAddress(handle, bind, TCP_REUSEPORT);
  return handle;
}

/**
 * Binds a stream socket for this process alone; a unix socket may be opened by its owner and group,
 * unless its mode says otherwise. Throws `E_BIND_FAILED`.
 */
export function bindExclusive(bind: Exclude<Bind, { kind: 'fd' }>): NativeHandle {
  if (bind.kind === 'unix') return bindPath({ mode: PRIVATE_MODE, ...bind });
  const handle = create<TcpHandle>('TCP', SERVER);
  bindAddress(handle, bind, 0);
  return handle;
}

/** The kind of socket that a bound datagram handle is. */
export function datagramType(handle: NativeHandle): 'udp4' | 'udp6' {
  const name: { family?: string } = {};
  // exempt(as): bindDatagram makes no others.
  (handle as UdpHandle).getsockname(name);
  return name.family === 'IPv6' ? 'udp6' : 'udp4';
}

/** Binds a datagram socket in the SO_REUSEPORT group of its address. Throws `E_BIND_FAILED`. */
export function bindDatagram(
  bind: Bind,
  descriptors: ReadonlyMap<string, NativeHandle>,
): NativeHandle {
  if (bind.kind === 'fd') return passed(bind, descriptors);
  if (bind.kind === 'unix') {
    throw new SluiceError('E_BIND_FAILED', `cannot take datagrams on ${formatBind(bind)}`);
  }
  const handle = create<UdpHandle>('UDP', 0);
  bindAddress(handle, bind, UDP_REUSEPORT);
  return handle;
}
