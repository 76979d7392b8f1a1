import { createServer, type Server } from 'node:http';
import { type Bind, formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { NativeHandle } from '../net/handles.ts';
import type { OwnSockets } from './own-sockets.ts';

async function serve(bind: Bind, handle: NativeHandle): Promise<Server> {
  const name = formatBind(bind);
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    const headers = Object.entries(request.headers).map(([key, value]) => `${key}: ${value}\n`);
    response.end(`whoami ${name}\n${request.method} ${request.url}\n${headers.join('')}`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(handle, resolve);
  });
  return server;
}

/** The built-in demo endpoints: each answers with who it is and what it was asked. */
export class Demo {
  readonly #servers = new Map<string, Server>();

  /** Serves where a configuration says, and nowhere else. */
  async apply({ demo }: GatewayConfig, sockets: OwnSockets): Promise<void> {
    const wanted = new Map((demo?.whoami ?? []).map((bind) => [formatBind(bind), bind]));
    for (const [address, server] of this.#servers) {
      if (wanted.has(address)) continue;
      server.close();
      this.#servers.delete(address);
    }
    for (const [address, bind] of wanted) {
      if (this.#servers.has(address)) continue;
      this.#servers.set(address, await serve(bind, sockets.handle('demo', bind)));
    }
  }

  close(): void {
    for (const server of this.#servers.values()) server.close();
  }
}
