// A real HTTP server in a process of its own, so that a test can kill or freeze it.
// Arguments: port, name, journal (or ''), `http1` or `h2c`, address (127.0.0.1). A request's `x-seq` N is answered with `bodyOf(N)`; without one
// the body is the name. Every POST with a number is written to the journal before it is answered.
// `?delay=MS` waits, `?size=BYTES` makes the answer longer. `POST /-/mode` with `ok`, `500` or `500:<percent>` changes what it answers.
import { openSync, writeSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { bodyOf } from './sequence.ts';

const [port = '0', name = 'backend', journal = '', protocol, host = '127.0.0.1'] =
  process.argv.slice(2);
const journalFd = journal === '' ? undefined : openSync(journal, 'a');
let failing = 0;
let served = 0;

function changeMode(request: IncomingMessage, response: ServerResponse): void {
  let text = '';
  request.on('data', (chunk) => {
    text += chunk;
  });
  request.on('end', () => {
    failing = text === 'ok' ? 0 : Number(text.split(':')[1] ?? 100);
    response.end();
  });
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const seq = request.headers['x-seq'];
  if (journalFd !== undefined && request.method === 'POST') {
    writeSync(journalFd, `${name} ${seq}\n`);
  }
  served++;
  // Failures are spread evenly: 7 has no factor in common with 10.
  const failed = (served * 7) % 10 < failing / 10;
  response.statusCode = failed ? 500 : 200;
  response.setHeader('x-backend', name);
  const size = Number(/[?&]size=(\d+)/.exec(request.url ?? '')?.[1] ?? 0);
  const body = seq === undefined ? `${name}\n`.padEnd(size, '.') : bodyOf(Number(seq));
  const delayMs = Number(/[?&]delay=(\d+)/.exec(request.url ?? '')?.[1] ?? 0);
  if (delayMs > 0) setTimeout(() => response.end(body), delayMs);
  else response.end(body);
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/-/mode') {
    changeMode(request, response);
    return;
  }
  request.resume();
  request.on('end', () => answer(request, response));
}

// exempt(any): the compatibility API of HTTP/2 is that of HTTP/1 in what is used here
const serve2 = serve as unknown as Parameters<typeof createHttp2Server>[1];
const server =
  protocol === 'h2c'
    ? createHttp2Server(serve2)
    : createServer({ keepAliveTimeout: 60_000 }, serve);
server.listen(Number(port), host, () => process.stdout.write('ready\n'));
