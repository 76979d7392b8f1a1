import { connect } from 'node:net';

// Asks a web server that is yet to come, as often as it can, and tells when it has answered.

const RETRY_MS = 1;
const PATIENCE_MS = 200;

type Place = { readonly host: string; readonly port: number };

function ask(place: Place): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(place);
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    socket.once('connect', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
    socket.once('data', () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(false));
  });
}

process.on('message', async (message) => {
  // exempt(as): the peer is the benchmark itself
  const place = message as Place;
  process.send?.('asking');
  while (!(await ask(place))) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  process.send?.('answered');
});
process.on('disconnect', () => process.exit(0));
