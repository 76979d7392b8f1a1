// Asks a server again and again over one connection after the other, until its input ends:
//   steady ADDRESS PORT HOST   prints { asked, failed, faults, seen, lastFailedAt, connections } at its end
import { Agent, request } from 'node:http';

const [address, port, host] = process.argv.slice(2);
const PAUSE_MS = 10;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const sockets = new Set();
const seen = {};
const faults = {};
let asked = 0;
let failed = 0;
let lastFailedAt = 0;
let over = false;

function ask() {
  const askedAt = Date.now();
  return new Promise((resolve) => {
    const miss = (why) => {
      failed++;
      lastFailedAt = askedAt;
      faults[why] = (faults[why] ?? 0) + 1;
      resolve();
    };
    request({ host: address, port, agent, headers: { host }, timeout: 4000 }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => {
        if (response.statusCode !== 200) return miss(`status ${response.statusCode}`);
        const [name = ''] = body.split(' ');
        seen[name] = (seen[name] ?? 0) + 1;
        return resolve();
      });
      response.on('error', ({ message }) => miss(message));
    })
      .on('socket', (socket) => sockets.add(socket))
      .on('timeout', () => miss('no answer'))
      .on('error', ({ message }) => miss(message))
      .end();
  });
}

process.stdin.resume().on('end', () => {
  over = true;
});
while (!over) {
  asked++;
  await ask();
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}
agent.destroy();
process.stdout.write(
  JSON.stringify({ asked, failed, faults, seen, lastFailedAt, connections: sockets.size }),
);
