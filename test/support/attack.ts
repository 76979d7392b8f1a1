import net from 'node:net';
import tls from 'node:tls';

/** How a connection ended: by the peer's FIN, by a reset, or not within the time. */
export type Ending = 'end' | 'reset' | 'open';

/** Everything that came back on a raw connection. */
export type Reply = {
  bytes: Buffer;
  text: string;
  ending: Ending;
  tookMs: number;
  /** How many parts were written before the end. */
  sent: number;
};

/** `send` may be parts: each is written on its own, `gapMs` after the one before. */
export type ExchangeOptions = {
  host?: string;
  localAddress?: string;
  timeoutMs?: number;
  gapMs?: number;
  /** Ends our side after the last part. */
  half?: boolean;
};

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** Sends raw bytes and collects what comes until the peer ends, or `timeoutMs` (20 s) have passed. */
export function exchange(
  port: number,
  send: string | Buffer | readonly (string | Buffer)[],
  options: ExchangeOptions = {},
): Promise<Reply> {
  const parts = typeof send === 'string' || Buffer.isBuffer(send) ? [send] : send;
  return new Promise((resolve) => {
    const { host = '127.0.0.1', localAddress, timeoutMs = 20_000, gapMs = 5 } = options;
    const from = performance.now();
    const got: Buffer[] = [];
    const socket = net.connect({ port, host, ...(localAddress ? { localAddress } : {}) });
    let ending: Ending = 'open';
    let sent = 0;
    const limit = setTimeout(() => socket.destroy(), timeoutMs);
    socket.setNoDelay(true);
    socket.on('connect', async () => {
      for (const [at, part] of parts.entries()) {
        if (at > 0) await sleep(gapMs);
        if (!socket.writable) break;
        socket.write(part as Buffer, 'latin1');
        sent++;
      }
      if (options.half) socket.end();
    });
    socket.on('data', (data: Buffer) => got.push(data));
    socket.on('end', () => {
      ending = 'end';
    });
    socket.on('error', () => {
      ending = 'reset';
    });
    socket.on('close', () => {
      clearTimeout(limit);
      const bytes = Buffer.concat(got);
      const tookMs = performance.now() - from;
      resolve({ bytes, text: bytes.toString('latin1'), ending, tookMs, sent });
    });
  });
}

/** The status of the first answer in `text`, or 0. */
export function statusOf(text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0);
}

/** Many connections that stay open until they are closed. */
export type Held = {
  readonly sockets: readonly net.Socket[];
  /** How many the peer has not closed. */
  open(): number;
  close(): void;
};

/** How `hold` opens its connections. */
export type HoldOptions = {
  host?: string;
  /** Source addresses, used in turn, so that one address's ports suffice. */
  from?: readonly string[];
  /** Written as soon as the connection is there. */
  send?: string;
  tls?: tls.ConnectionOptions;
  /** At most so many handshakes are under way at once. */
  batch?: number;
  onData?: (socket: net.Socket, data: Buffer) => void;
};

function connectOne(port: number, index: number, options: HoldOptions): Promise<net.Socket> {
  const { host = '127.0.0.1', from = [] } = options;
  const localAddress = from[index % Math.max(1, from.length)];
  const to = { port, host, ...(localAddress ? { localAddress } : {}) };
  return new Promise((resolve) => {
    const socket = options.tls ? tls.connect({ ...to, ...options.tls }) : net.connect(to);
    const ready = () => {
      if (options.send) socket.write(options.send, 'latin1');
      resolve(socket);
    };
    socket.once(options.tls ? 'secureConnect' : 'connect', ready);
    socket.on('error', () => {});
    socket.once('close', () => resolve(socket));
    socket.on('data', (data: Buffer) => options.onData?.(socket, data));
  });
}

/** Opens `count` connections and holds them. */
export async function hold(port: number, count: number, options: HoldOptions = {}): Promise<Held> {
  const { batch = 200 } = options;
  const sockets: net.Socket[] = [];
  while (sockets.length < count) {
    const size = Math.min(batch, count - sockets.length);
    const next = Array.from({ length: size }, (_, at) =>
      connectOne(port, sockets.length + at, options),
    );
    sockets.push(...(await Promise.all(next)));
  }
  return {
    sockets,
    open: () => sockets.filter((socket) => !socket.closed && !socket.readableEnded).length,
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Loopback source addresses: 127.0.0.2 and on. */
export function loopbackSources(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `127.0.0.${at + 2}`);
}
