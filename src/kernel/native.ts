import { closeSync, constants, openSync } from 'node:fs';

/**
 * The few system calls that Node does not offer. They come through an optional package; without
 * it `loadNative` returns undefined and callers take their slower way.
 */
export interface Native {
  /**
   * Runs `work` with this thread in another network namespace. `work` has to be synchronous: no
   * other code of this process runs in between. A namespace that cannot be left ends the process.
   */
  inNamespace<T>(path: string, work: () => T): T;
  /**
   * A socket in the thread's namespace, bound to an IPv4 address or to `::`. It does not block and
   * belongs to the caller.
   */
  socket(kind: SocketKind, address: string, port: number): { fd: number; port: number };
  /**
   * Sends messages to netfilter in the namespace of the first call, one after another; returns
   * what it answers. Rejects when they are not taken at all.
   */
  netfilter(messages: Buffer): Promise<Buffer>;
  /** The same for a small request, at once. */
  askNetfilter(request: Buffer): Buffer;
  /** Follows what changes in the tables of the thread's namespace from now on. */
  netfilterEvents(): NetfilterEvents;
  /** Brings the loopback link of the thread's namespace up. */
  raiseLoopback(): void;
  /** A copy of another process's file descriptor; undefined when it cannot be had. */
  takeFd(pid: number, fd: number): number | undefined;
  /** Sends a datagram by a socket that something else may be reading. What cannot be sent is lost. */
  sendTo(fd: number, bytes: Buffer, address: string, port: number): void;
  /** A named pipe. */
  makeFifo(path: string): void;
  /** A new pseudo-terminal; both descriptors belong to the caller. */
  openTerminal(): { master: number; slave: number };
  resizeTerminal(master: number, columns: number, rows: number): void;
  /** How long what was sent on a TCP socket may stay unacknowledged. A socket that has gone is left alone. */
  setUserTimeout(fd: number, timeoutMs: number): void;
}

/** What the kernel tells of changes of netfilter's tables. */
export interface NetfilterEvents {
  /** Whole messages since the last call, in order; undefined when some were lost. */
  read(): Buffer | undefined;
  close(): void;
}

/** `listener`: a TCP socket that listens; `tcp`: one that is to connect. */
export type SocketKind = 'udp' | 'listener' | 'tcp';

type Call = {
  (...args: unknown[]): number | bigint;
  readonly async: (...args: unknown[]) => void;
};

const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_FLAGS = 0x800 | 0x80000;
const LISTEN_BACKLOG = 128;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_NETFILTER = 12;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOCKADDR_NL_BYTES = 12;
/** NFNLGRP_NFTABLES, the seventh. Source: Linux, include/uapi/linux/netfilter/nfnetlink.h. */
const GROUP_NFTABLES = 1 << 6;
/** One transaction has to fit; the kernel takes the memory only for one that is sent. */
const NETFILTER_BUFFER_BYTES = 64 * 1024 * 1024;
/** What is told between two calls has to fit, or is lost. */
const EVENT_BUFFER_BYTES = 8 * 1024 * 1024;
const MAX_ANSWER_BYTES = 16 * 1024;
/** One error says enough. */
const MAX_ANSWERS = 64;
/** Source: Linux, include/uapi/asm-generic/errno.h. */
const ENOBUFS = 105;
const SYS = {
  x64: { pidfdOpen: 434, pidfdGetfd: 438 },
  arm64: { pidfdOpen: 434, pidfdGetfd: 438 },
};
/** Source: Linux, include/uapi/linux/sockios.h and if.h. */
const SIOCSIFFLAGS = 0x8914;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;
const IFF_UP = 1;
const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const TIOCSWINSZ = 0x5414;
const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;
const FIFO_MODE = 0o600;

function ipv4Bytes(address: string): number[] {
  return address.split('.').map(Number);
}

function sockaddr(address: string, port: number): Buffer {
  const v6 = address.includes(':');
  const bytes = Buffer.alloc(v6 ? 28 : 16);
  bytes.writeUInt16LE(v6 ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  if (v6) {
    if (address !== '::') throw new Error('only the unspecified IPv6 address can be bound here');
  } else {
    Buffer.from(ipv4Bytes(address)).copy(bytes, 4);
  }
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

class KoffiNative implements Native {
  readonly #call: Record<string, Call>;
  readonly #errno: () => number;
  readonly #own: number;
  /** Kept open: the end of such a socket waits until what was deleted is out of use everywhere. */
  #changing: number | undefined;
  #asking: number | undefined;
  #lastMessages: Promise<unknown> = Promise.resolve();

  constructor(call: Record<string, Call>, errno: () => number) {
    this.#call = call;
    this.#errno = errno;
    this.#own = openSync('/proc/thread-self/ns/net', constants.O_RDONLY);
  }

  #must(name: string, ...args: unknown[]): number {
    const result = Number(this.#call[name]?.(...args) ?? -1);
    if (result < 0) throw new Error(`${name} failed with errno ${this.#errno()}`);
    return result;
  }

  inNamespace<T>(path: string, work: () => T): T {
    const target = openSync(path, constants.O_RDONLY);
    try {
      this.#must('setns', target, CLONE_NEWNET);
      try {
        return work();
      } finally {
        if (Number(this.#call['setns']?.(this.#own, CLONE_NEWNET)) < 0) process.abort();
      }
    } finally {
      closeSync(target);
    }
  }

  socket(kind: SocketKind, address: string, port: number): { fd: number; port: number } {
    const family = address.includes(':') ? AF_INET6 : AF_INET;
    const type = (kind === 'udp' ? SOCK_DGRAM : SOCK_STREAM) | SOCK_FLAGS;
    const fd = this.#must('socket', family, type, 0);
    try {
      const wanted = sockaddr(address, port);
      this.#must('bind', fd, wanted, wanted.length);
      if (kind === 'listener') this.#must('listen', fd, LISTEN_BACKLOG);
      const got = Buffer.alloc(28);
      const size = Buffer.alloc(4);
      size.writeUInt32LE(got.length);
      this.#must('getsockname', fd, got, size);
      return { fd, port: got.readUInt16BE(2) };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  raiseLoopback(): void {
    const fd = this.#must('socket', AF_INET, SOCK_DGRAM | SOCK_FLAGS, 0);
    try {
      const request = Buffer.alloc(IFREQ_BYTES);
      request.write('lo');
      request.writeUInt16LE(IFF_UP, IFREQ_FLAGS);
      this.#must('ioctl', fd, SIOCSIFFLAGS, request);
    } finally {
      closeSync(fd);
    }
  }

  netfilter(messages: Buffer): Promise<Buffer> {
    const result = this.#lastMessages.then(() => this.#send(messages));
    this.#lastMessages = result.catch(() => {});
    return result;
  }

  async #send(messages: Buffer): Promise<Buffer> {
    this.#changing ??= this.#netfilterSocket();
    const fd = this.#changing;
    const sent = await new Promise<number>((resolve, reject) => {
      const done = (error: Error | null, result: number | bigint) =>
        error ? reject(error) : resolve(Number(result));
      this.#call['send']?.async(fd, messages, messages.length, 0, done);
    });
    if (sent < 0) throw new Error(`${messages.length} bytes of messages were not taken`);
    return this.#answer(fd);
  }

  askNetfilter(request: Buffer): Buffer {
    this.#asking ??= this.#netfilterSocket();
    this.#must('send', this.#asking, request, request.length, 0);
    return this.#answer(this.#asking);
  }

  netfilterEvents(): NetfilterEvents {
    const fd = this.#must('socket', AF_NETLINK, SOCK_RAW | SOCK_FLAGS, NETLINK_NETFILTER);
    try {
      this.#setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, EVENT_BUFFER_BYTES);
      const address = Buffer.alloc(SOCKADDR_NL_BYTES);
      address.writeUInt16LE(AF_NETLINK, 0);
      address.writeUInt32LE(GROUP_NFTABLES, 8);
      this.#must('bind', fd, address, address.length);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return { read: () => this.#events(fd), close: () => closeSync(fd) };
  }

  #events(fd: number): Buffer | undefined {
    const parts: Buffer[] = [];
    let lost = false;
    for (let bytes = 0; bytes < EVENT_BUFFER_BYTES; ) {
      const part = Buffer.alloc(MAX_ANSWER_BYTES);
      const size = Number(this.#call['recv']?.(fd, part, part.length, 0) ?? -1);
      if (size > 0) parts.push(part.subarray(0, size));
      else if (size < 0 && this.#errno() === ENOBUFS) lost = true;
      else break;
      bytes += Math.max(size, 0);
    }
    return lost ? undefined : Buffer.concat(parts);
  }

  #netfilterSocket(): number {
    const fd = this.#must('socket', AF_NETLINK, SOCK_RAW | SOCK_FLAGS, NETLINK_NETFILTER);
    this.#setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, NETFILTER_BUFFER_BYTES);
    return fd;
  }

  /** The kernel has answered before it returns from taking the messages. */
  #answer(fd: number): Buffer {
    const parts: Buffer[] = [];
    for (;;) {
      const part = Buffer.alloc(MAX_ANSWER_BYTES);
      const size = Number(this.#call['recv']?.(fd, part, part.length, 0) ?? -1);
      if (size <= 0) return Buffer.concat(parts);
      parts.push(part.subarray(0, size));
      if (parts.length >= MAX_ANSWERS) return Buffer.concat(parts);
    }
  }

  takeFd(pid: number, fd: number): number | undefined {
    const numbers = SYS[process.arch === 'arm64' ? 'arm64' : 'x64'];
    const handle = Number(this.#call['syscall']?.(numbers.pidfdOpen, pid, 0, 0));
    if (handle < 0) return undefined;
    try {
      const copy = Number(this.#call['syscall']?.(numbers.pidfdGetfd, handle, fd, 0));
      return copy < 0 ? undefined : copy;
    } finally {
      closeSync(handle);
    }
  }

  sendTo(fd: number, bytes: Buffer, address: string, port: number): void {
    const to = sockaddr(address, port);
    this.#call['sendto']?.(fd, bytes, bytes.length, 0, to, to.length);
  }

  makeFifo(path: string): void {
    this.#must('mkfifo', path, FIFO_MODE);
  }

  openTerminal(): { master: number; slave: number } {
    const flags = constants.O_RDWR | constants.O_NOCTTY;
    const master = openSync('/dev/ptmx', flags | constants.O_NONBLOCK);
    try {
      this.#must('ioctl', master, TIOCSPTLCK, Buffer.alloc(4));
      const number = Buffer.alloc(4);
      this.#must('ioctl', master, TIOCGPTN, number);
      return { master, slave: openSync(`/dev/pts/${number.readUInt32LE(0)}`, flags) };
    } catch (error) {
      closeSync(master);
      throw error;
    }
  }

  resizeTerminal(master: number, columns: number, rows: number): void {
    const size = Buffer.alloc(8);
    size.writeUInt16LE(rows, 0);
    size.writeUInt16LE(columns, 2);
    this.#must('ioctl', master, TIOCSWINSZ, size);
  }

  setUserTimeout(fd: number, timeoutMs: number): void {
    this.#setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeoutMs);
  }

  /** Sets an option that does good, and whose lack does no harm. */
  #setOption(fd: number, level: number, name: number, value: number): void {
    const bytes = uint32(value);
    this.#call['setsockopt']?.(fd, level, name, bytes, bytes.length);
  }
}

/** Undefined where the package, the C library or the architecture is missing. */
export async function loadNative(): Promise<Native | undefined> {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load('libc.so.6');
    const signatures = {
      setns: 'int setns(int fd, int type)',
      socket: 'int socket(int domain, int type, int protocol)',
      bind: 'int bind(int fd, void *address, uint size)',
      listen: 'int listen(int fd, int backlog)',
      getsockname: 'int getsockname(int fd, void *address, void *size)',
      mkfifo: 'int mkfifo(const char *path, uint mode)',
      send: 'long send(int fd, void *bytes, size_t size, int flags)',
      sendto:
        'long sendto(int fd, void *bytes, size_t size, int flags, void *address, uint length)',
      recv: 'long recv(int fd, void *bytes, size_t size, int flags)',
      ioctl: 'int ioctl(int fd, ulong request, void *argument)',
      setsockopt: 'int setsockopt(int fd, int level, int name, void *value, uint size)',
      syscall: 'long syscall(long number, long a, long b, long c)',
    };
    const calls: Record<string, Call> = {};
    for (const [name, signature] of Object.entries(signatures)) {
      // exempt(as): the library's functions take and give what their signature says
      calls[name] = libc.func(signature) as unknown as Call;
    }
    return new KoffiNative(calls, () => koffi.errno());
  } catch {
    return undefined;
  }
}
