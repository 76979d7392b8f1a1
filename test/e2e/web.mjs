// A web server for tasks, on port PORT: answers with its NAME, the path that it saw, and the client.
// Once it is to end, its answers close the connections that clients keep.
// With a folder of certificates, CERTS, it answers for example.com by TLS on port 443, too.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';

const { NAME, PORT = '80', CERTS } = process.env;

/** How long clients that keep a connection have for their last request. */
const LAST_MS = 1000;
let ending = false;

const answer = ({ url, socket }, response) => {
  if (ending) response.shouldKeepAlive = false;
  response.end(`${NAME} ${url} ${socket.remoteAddress}\n`);
};
const servers = [createServer(answer).listen(Number(PORT))];
if (CERTS) {
  const [cert, key] = ['pem', 'key'].map((end) => readFileSync(`${CERTS}/example.com.${end}`));
  servers.push(createSecureServer({ cert, key }, answer).listen(443));
}
process.on('SIGTERM', () => {
  ending = true;
  setTimeout(() => {
    for (const server of servers) server.close();
  }, LAST_MS);
});
