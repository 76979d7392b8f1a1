// New TLS connections that resume the session of the one before, a request on each:
// `resumed-load.ts PORT CONNECTIONS SECONDS` prints how many were answered, and how many failed or had a
// full handshake.
import tls from 'node:tls';

const [port = 0, connections = 1, seconds = 1] = process.argv.slice(2).map(Number);
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const GOOD = 'HTTP/1.1 200';

type Outcome = { good: boolean; resumed: boolean; session: Buffer | undefined };

let answered = 0;
let failed = 0;

function exchange(session: Buffer | undefined): Promise<Outcome> {
  return new Promise((resolve) => {
    let good = false;
    let resumed = false;
    let next = session;
    const socket = tls.connect({
      ...{ port, host: '127.0.0.1', servername: 'localhost', minVersion: 'TLSv1.3' },
      ...(session ? { session } : {}),
      rejectUnauthorized: false,
    });
    socket.setNoDelay(true);
    socket.on('secureConnect', () => {
      resumed = socket.isSessionReused();
      socket.write(REQUEST, 'latin1');
    });
    socket.on('session', (ticket: Buffer) => {
      next = ticket;
    });
    socket.on('data', (data: Buffer) => {
      good ||= data.toString('latin1', 0, GOOD.length) === GOOD;
    });
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve({ good, resumed, session: next }));
  });
}

async function client(first: Buffer | undefined): Promise<void> {
  for (let session = first; ; ) {
    const outcome = await exchange(session);
    if (outcome.good && outcome.resumed) answered++;
    else failed++;
    session = outcome.session;
  }
}

// All resume this one's session first, so that there is only one full handshake.
const { session } = await exchange(undefined);
for (let index = 0; index < connections; index++) client(session);
setTimeout(() => {
  process.stdout.write(JSON.stringify({ answered, failed }));
  process.exit(0);
}, seconds * 1000);
