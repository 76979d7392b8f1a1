// What Node users pick today: a server of node:http that asks through a pool of undici.
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { Pool } = require('undici');
const [port = '0', target = '0'] = process.argv.slice(2);
const pool = new Pool(`http://127.0.0.1:${target}`, { connections: 256 });
/** Fields that are one connection's own. */
const HOP_BY_HOP = ['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer'];

function endToEnd(headers: http.IncomingHttpHeaders): http.IncomingHttpHeaders {
  const rest = { ...headers };
  for (const name of HOP_BY_HOP) delete rest[name];
  return rest;
}

async function forward(request: http.IncomingMessage, response: http.ServerResponse) {
  const { method, url: path, headers, socket } = request;
  const bodiless = method === 'GET' || method === 'HEAD';
  const asked = {
    ...{ method, path, body: bodiless ? null : request },
    headers: { ...endToEnd(headers), 'x-forwarded-for': socket.remoteAddress },
  };
  await pool.stream(asked, (answer: { statusCode: number; headers: http.IncomingHttpHeaders }) =>
    response.writeHead(answer.statusCode, endToEnd(answer.headers)),
  );
}

http
  .createServer((request, response) => {
    forward(request, response).catch(() => {
      if (!response.headersSent) response.writeHead(502);
      response.end();
    });
  })
  .listen(Number(port), '127.0.0.1');
