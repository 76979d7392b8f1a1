import { createSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';

/*
 * Runs in a network namespace of a test and does there what it is told: listens, asks, keeps a
 * connection. Every server answers `NAME peer=ADDRESS`, so that the caller sees who was reached
 * and as whom.
 */
export type PeerOrder =
  | { op: 'listen'; transport: 'tcp' | 'udp'; host: string; port: number; name: string }
  | { op: 'ask'; transport: 'tcp' | 'udp'; host: string; port: number; timeoutMs: number }
  | { op: 'send'; host: string; port: number; source: number; timeoutMs: number }
  | { op: 'hold'; host: string; port: number }
  | { op: 'echo'; text: string; timeoutMs: number }
  | { op: 'bulk'; bytes: number; timeoutMs: number };

let held: Socket | undefined;

const bare = (address: string | undefined) => (address ?? '').replace(/^::ffff:/, '');

function listen(order: Extract<PeerOrder, { op: 'listen' }>): Promise<string> {
  return new Promise((resolve, reject) => {
    if (order.transport === 'udp') {
      const socket = createSocket(order.host.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (_, from) => {
        socket.send(`${order.name} peer=${bare(from.address)}`, from.port, from.address);
      });
      socket.once('error', reject);
      socket.bind(order.port, order.host, () => resolve(String(socket.address().port)));
      return;
    }
    const server = createServer((client) => {
      client.on('error', () => client.destroy());
      client.write(`${order.name} peer=${bare(client.remoteAddress)}\n`);
      client.on('data', (data) => client.write(data));
    });
    server.once('error', reject);
    server.listen(order.port, order.host, () => resolve('listening'));
  });
}

function askTcp(host: string, port: number, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (text: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(() => finish('timeout'), timeoutMs);
    socket.on('data', (data) => finish(data.toString().trim()));
    socket.on('error', (error) => finish('code' in error ? String(error.code) : 'error'));
    socket.on('end', () => finish('closed'));
  });
}

function askUdp(host: string, port: number, source: number, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const finish = (text: string) => {
      clearTimeout(timer);
      socket.close();
      resolve(text);
    };
    const timer = setTimeout(() => finish('timeout'), timeoutMs);
    socket.on('error', (error) => finish('code' in error ? String(error.code) : 'error'));
    socket.on('message', (data) => finish(data.toString().trim()));
    socket.bind(source, () => {
      socket.connect(port, host, () => socket.send('?'));
    });
  });
}

function hold(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    held = socket;
    socket.once('data', (data) => resolve(data.toString().trim()));
    socket.once('error', (error) => resolve('code' in error ? String(error.code) : 'error'));
    socket.on('error', () => {});
  });
}

function echo(text: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = held;
    if (!socket || socket.destroyed) {
      resolve('gone');
      return;
    }
    const finish = (answer: string) => {
      clearTimeout(timer);
      socket.removeAllListeners('data');
      socket.removeListener('close', gone);
      resolve(answer);
    };
    const gone = () => finish('gone');
    const timer = setTimeout(() => finish('timeout'), timeoutMs);
    socket.once('data', (data) => finish(data.toString().trim()));
    socket.once('close', gone);
    socket.write(text);
  });
}

/** Sends bytes over the held connection; how many come back. */
function bulk(bytes: number, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    let received = 0;
    const socket = held;
    const finish = () => {
      clearTimeout(timer);
      socket?.removeAllListeners('data');
      resolve(String(received));
    };
    const timer = setTimeout(finish, timeoutMs);
    socket?.on('data', (data) => {
      received += data.length;
      if (received >= bytes) finish();
    });
    socket?.write(Buffer.alloc(bytes, 'x'));
  });
}

function run(order: PeerOrder): Promise<string> {
  switch (order.op) {
    case 'listen':
      return listen(order);
    case 'ask':
      return order.transport === 'tcp'
        ? askTcp(order.host, order.port, order.timeoutMs)
        : askUdp(order.host, order.port, 0, order.timeoutMs);
    case 'send':
      return askUdp(order.host, order.port, order.source, order.timeoutMs);
    case 'hold':
      return hold(order.host, order.port);
    case 'echo':
      return echo(order.text, order.timeoutMs);
    case 'bulk':
      return bulk(order.bytes, order.timeoutMs);
  }
}

process.on('message', async ({ id, order }: { id: number; order: PeerOrder }) => {
  const text = await run(order).catch((error: unknown) => `failed: ${error}`);
  process.send?.({ id, text });
});
process.on('disconnect', () => process.exit(0));
process.send?.({ id: 0, text: 'ready' });
