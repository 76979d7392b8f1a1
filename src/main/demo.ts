import { createServer, type Server } from 'node:http';
import type { ListenOptions } from 'node:net';
import { formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { OwnSockets } from './own-sockets.ts';

/** Starts the built-in demo endpoints: each answers with who it is and what it was asked. */
export async function startDemo(
  config: GatewayConfig,
  sockets: OwnSockets,
): Promise<{ close(): void }> {
  const servers: Server[] = [];
  for (const bind of config.demo?.whoami ?? []) {
    if (bind.kind !== 'ip') continue;
    const name = formatBind(bind);
    const server = createServer((request, response) => {
      request.resume();
      response.setHeader('content-type', 'text/plain; charset=utf-8');
      const headers = Object.entries(request.headers).map(([key, value]) => `${key}: ${value}\n`);
      response.end(`whoami ${name}\n${request.method} ${request.url}\n${headers.join('')}`);
    });
    const handle = await sockets.open(bind);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ _handle: handle } as ListenOptions, resolve);
    });
    servers.push(server);
  }
  return {
    close: () => {
      for (const server of servers) server.close();
    },
  };
}
