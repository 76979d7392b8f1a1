// The server behind every proxy of the benchmark: fixed answers on one port, by TCP or, with a
// certificate and its key, TLS; the same port by UDP sends back what comes.
import dgram from 'node:dgram';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';

const END = Buffer.from('\r\n\r\n');
const [port = '0', certificate, key] = process.argv.slice(2);

function answer(body: Buffer, close: boolean): Buffer {
  const fields = `Content-Type: text/plain\r\nContent-Length: ${body.length}\r\n`;
  const head = `HTTP/1.1 200 OK\r\n${fields}${close ? 'Connection: close\r\n' : ''}\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

const BODIES: readonly (readonly [string, Buffer])[] = [
  ['GET /64k ', Buffer.alloc(65_536, 'x')],
  ['GET /10m ', Buffer.alloc(10_000_000, 'x')],
  ['', Buffer.from('Hello, World\n')],
];
const ANSWERS = BODIES.map(([start, body]) => ({
  start: Buffer.from(start),
  kept: answer(body, false),
  last: answer(body, true),
}));
const CLOSE = Buffer.from('onnection: close');

function serve(socket: net.Socket): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (data: Buffer) => {
    const buffer = rest.length > 0 ? Buffer.concat([rest, data]) : data;
    let from = 0;
    const answers: Buffer[] = [];
    let close = false;
    for (let end = buffer.indexOf(END); end >= 0 && !close; end = buffer.indexOf(END, from)) {
      const head = buffer.subarray(from, end);
      from = end + END.length;
      close = head.includes(CLOSE);
      const found = ANSWERS.find(({ start }) => head.subarray(0, start.length).equals(start));
      if (found) answers.push(close ? found.last : found.kept);
    }
    rest = buffer.subarray(from);
    if (answers.length > 0)
      socket.write(answers.length > 1 ? Buffer.concat(answers) : (answers[0] ?? ''));
    if (close) socket.end();
  });
}

const options = { noDelay: true };
const server =
  certificate && key
    ? tls.createServer(
        { ...options, cert: readFileSync(certificate), key: readFileSync(key) },
        serve,
      )
    : net.createServer(options, serve);
server.listen(Number(port), '127.0.0.1');

const echo = dgram.createSocket('udp4');
echo.on('message', (message, { port: to, address }) => echo.send(message, to, address));
echo.bind(Number(port), '127.0.0.1');
