// Asks servers again and again over connections of their own, until its input ends:
//   load RATE PORT HOST …   prints { asked, failed, faults, seen, lastFailedAt } at its end
import { connect } from 'node:net';

const [rate, port, ...hosts] = process.argv.slice(2);
const PATIENCE_MS = 4000;
const MAX_FAULTS = 20;

let asked = 0;
let failed = 0;
let open = 0;
let over = false;
let lastFailedAt = 0;
const faults = {};
const seen = {};

function count(table, key) {
  if (key in table || Object.keys(table).length < MAX_FAULTS) table[key] = (table[key] ?? 0) + 1;
}

function ask(host) {
  asked++;
  open++;
  let text = '';
  const askedAt = Date.now();
  const socket = connect({ host, port: Number(port) });
  let fault = 'closed without an answer';
  socket.setTimeout(PATIENCE_MS, () => {
    fault = 'no answer';
    socket.destroy();
  });
  socket.on('data', (data) => {
    text += data;
  });
  socket.on('error', (error) => {
    fault = error.code ?? error.message;
  });
  socket.on('close', () => {
    open--;
    if (text.endsWith('\n')) count(seen, text.split(' ')[0]);
    else {
      failed++;
      lastFailedAt = Math.max(lastFailedAt, askedAt);
      count(faults, `${host} ${fault}`);
    }
    finish();
  });
}

function finish() {
  if (!over || open > 0) return;
  process.stdout.write(JSON.stringify({ asked, failed, faults, seen, lastFailedAt }));
  process.exit(0);
}

const started = performance.now();
const timer = setInterval(() => {
  const due = ((performance.now() - started) / 1000) * Number(rate);
  while (asked < due) ask(hosts[asked % hosts.length]);
}, 5);
process.stdin.resume();
process.stdin.on('end', () => {
  clearInterval(timer);
  over = true;
  finish();
});
