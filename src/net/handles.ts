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

function passed(
  bind: Extract<Bind, { kind: 'fd' }>,
  descriptors: ReadonlyMap<string, number>,
): number {
  const fd = descriptors.get(bind.name);
  if (fd !== undefined) return fd;
  const names = [...descriptors.keys()].join(', ') || 'none';
  throw new SluiceError(
    'E_BIND_FAILED',
    `cannot listen on fd:${bind.name}: the service manager passed no such socket (passed: ${names})`,
  );
}

let temporaryPaths = 0;

/**
 * Binds beside the path and moves the socket there: clients find the old one or the new one, and
 * closing the old one does not take the new one's file away.
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
  const { ino } = lstatSync(beside);
  renameSync(beside, path);
  const close = pipe.close.bind(pipe);
  pipe.close = () => {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) unlinkSync(path);
    close();
  };
  return pipe;
}

/**
 * Binds a stream socket in the SO_REUSEPORT group of its address. Throws `E_BIND_FAILED`. A socket
 * file left over at a unix path is replaced; anything else there is refused.
 */
export function bindStream(bind: Bind, descriptors: ReadonlyMap<string, number>): NativeHandle {
  if (bind.kind === 'unix') {
    return bindPath(bind);
  }
  const handle = create<TcpHandle>('TCP', SERVER);
  if (bind.kind === 'fd') handle.open(passed(bind, descriptors));
  else bindAddress(handle, bind, TCP_REUSEPORT);
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
export function bindDatagram(bind: Bind, descriptors: ReadonlyMap<string, number>): NativeHandle {
  const handle = create<UdpHandle>('UDP', 0);
  if (bind.kind === 'fd') handle.open(passed(bind, descriptors));
  else if (bind.kind === 'ip') bindAddress(handle, bind, UDP_REUSEPORT);
  else throw new SluiceError('E_BIND_FAILED', `cannot take datagrams on ${formatBind(bind)}`);
  return handle;
}
