import { createServer, type Server } from 'node:http';
import { formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

/** Starts the built-in demo endpoints: each answers with who it is and what it was asked. */
export async function startDemo(config: GatewayConfig): Promise<{ close(): void }> {
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
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(bind.port, bind.host, resolve);
    });
    servers.push(server);
  }
  return {
    close: () => {
      for (const server of servers) server.close();
    },
  };
}
