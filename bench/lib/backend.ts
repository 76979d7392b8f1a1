// The server behind every proxy of the benchmark: one fixed answer for each request head.
import net from 'node:net';

const ANSWER =
  'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World\n';
const END = Buffer.from('\r\n\r\n');

net
  .createServer({ noDelay: true }, (socket) => {
    let rest: Buffer = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data: Buffer) => {
      const buffer = rest.length > 0 ? Buffer.concat([rest, data]) : data;
      let from = 0;
      let answers = '';
      for (let end = buffer.indexOf(END); end >= 0; end = buffer.indexOf(END, from)) {
        from = end + END.length;
        answers += ANSWER;
      }
      rest = buffer.subarray(from);
      if (answers) socket.write(answers, 'latin1');
    });
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
