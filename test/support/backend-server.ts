// A real HTTP server in a process of its own, so that a test can kill or freeze it.
// Arguments: port, name. `POST /-/mode` with `ok`, `500` or `500:<percent>` changes what it answers.
import { createServer } from 'node:http';

const [port = '0', name = 'backend'] = process.argv.slice(2);
let failing = 0;
let served = 0;

const server = createServer((request, response) => {
  if (request.url === '/-/mode') {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      failing = text === 'ok' ? 0 : Number(text.split(':')[1] ?? 100);
      response.end();
    });
    return;
  }
  request.resume();
  served++;
  // Failures are spread evenly: 7 has no factor in common with 10.
  const failed = (served * 7) % 10 < failing / 10;
  response.statusCode = failed ? 500 : 200;
  response.setHeader('x-backend', name);
  response.end(`${name}\n`);
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'));
