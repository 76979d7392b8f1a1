// Round trips by UDP: `udp-load.ts PORT SOCKETS SECONDS` prints how many came back and how many did not.
import dgram from 'node:dgram';

const [port = 0, sockets = 1, seconds = 1] = process.argv.slice(2).map(Number);
const LOST_AFTER_MS = 500;
const MESSAGE = Buffer.alloc(64, 'u');

let answered = 0;
let lost = 0;
for (let index = 0; index < sockets; index++) {
  const socket = dgram.createSocket('udp4');
  let sentAt = 0;
  const ask = () => {
    sentAt = performance.now();
    socket.send(MESSAGE);
  };
  socket.on('message', () => {
    answered++;
    ask();
  });
  socket.on('error', () => {});
  socket.connect(port, '127.0.0.1', ask);
  setInterval(() => {
    if (performance.now() - sentAt < LOST_AFTER_MS) return;
    lost++;
    ask();
  }, LOST_AFTER_MS);
}
setTimeout(() => {
  process.stdout.write(JSON.stringify({ answered, lost }));
  process.exit(0);
}, seconds * 1000);
