// A small program to run in containers and around them, in plain JavaScript for any Node:
//   serve NAME tcp:80 udp:53 …   answers `NAME PEER-ADDRESS` on each port
//   ask tcp|udp HOST PORT        prints the answer; exit 1 when none comes
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [verb, ...words] = process.argv.slice(2);
const PATIENCE_MS = 4000;

function plain(address) {
  return String(address).replace(/^::ffff:/, '');
}

function serve(name, ports) {
  // The first process of a container is not ended by a signal that it does not take.
  process.on('SIGTERM', () => process.exit(0));
  for (const text of ports) {
    const [transport, number] = text.split(':');
    const port = Number(number);
    if (transport === 'tcp') {
      createServer((socket) => {
        socket.on('error', () => {});
        socket.end(`${name} ${plain(socket.remoteAddress)}\n`);
      }).listen(port);
    } else {
      const socket = createSocket('udp6');
      socket.on('message', (_, peer) => {
        socket.send(`${name} ${plain(peer.address)}\n`, peer.port, peer.address);
      });
      socket.bind(port);
    }
  }
}

function finish(text, code) {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  process.exit(code);
}

function ask(transport, host, port) {
  setTimeout(() => finish('no answer', 1), PATIENCE_MS);
  if (transport === 'tcp') {
    let text = '';
    const socket = connect({ host, port });
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('end', () => finish(text, text === '' ? 1 : 0));
    socket.on('error', (error) => finish(error.code ?? error.message, 1));
    return;
  }
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (data) => finish(String(data), 0));
  socket.on('error', (error) => finish(error.code ?? error.message, 1));
  socket.connect(port, host, () => socket.send('?'));
}

if (verb === 'serve') serve(words[0], words.slice(1));
else if (verb === 'ask') ask(words[0], words[1], Number(words[2]));
else finish(`unknown verb ${verb}`, 2);
