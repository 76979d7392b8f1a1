// What Node users pick today: the http-proxy package with keep-alive on both sides.
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const httpProxy = require('http-proxy');
const [port = '0', target = '0'] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${target}`,
  agent,
  xfwd: true,
});
proxy.on('error', (_error: Error, _request: unknown, response: http.ServerResponse) => {
  response.writeHead(502);
  response.end();
});
http
  .createServer((request, response) => proxy.web(request, response))
  .listen(Number(port), '127.0.0.1');
