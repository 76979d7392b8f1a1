// Asks web servers again and again, until its input ends:
//   web-load RATE FRESH PORT NAME HOST …   prints { asked, failed, faults, seen, lastFailedAt, connections, rate }
// FRESH of 100 requests have a connection of their own; the others are sent over those that are kept.
// A host that owes many answers is not asked more before one comes: the rate falls instead.
import { connect } from 'node:net';

const [rate, fresh, port, name, ...hosts] = process.argv.slice(2);
const PATIENCE_MS = 4000;
const MAX_FAULTS = 20;
/** Requests to one host that wait for their answer. */
const MAX_OPEN = 40;
const TURN_MS = 2;

const head = `GET / HTTP/1.1\r\nHost: ${name}\r\n`;
/** Connections to each host that wait for a request, the one that has waited longest first. */
const free = new Map(hosts.map((host) => [host, []]));
/** Requests to each host that wait. */
const owed = new Map(hosts.map((host) => [host, 0]));
const faults = {};
const seen = {};
let asked = 0;
let failed = 0;
let open = 0;
let over = false;
let lastFailedAt = 0;
let connections = 0;
let stoppedAt = 0;

function count(table, key) {
  if (key in table || Object.keys(table).length < MAX_FAULTS) table[key] = (table[key] ?? 0) + 1;
}

/** One request at a time over one connection. */
class Connection {
  #socket;
  #host;
  #timer;
  #askedAt = 0;
  #text = '';
  #fault = 'closed without an answer';

  constructor(host) {
    connections++;
    this.#host = host;
    this.#socket = connect({ host, port: Number(port), noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text) => this.#read(text));
    this.#socket.on('error', (error) => {
      this.#fault = error.code ?? error.message;
    });
    this.#socket.on('close', () => this.#closed());
  }

  ask(last) {
    asked++;
    open++;
    owed.set(this.#host, owed.get(this.#host) + 1);
    this.#text = '';
    this.#askedAt = Date.now();
    this.#timer = setTimeout(() => {
      this.#fault = 'no answer';
      this.#socket.destroy();
    }, PATIENCE_MS);
    this.#socket.write(last ? `${head}Connection: close\r\n\r\n` : `${head}\r\n`);
  }

  end() {
    this.#socket.destroy();
  }

  #read(text) {
    this.#text += text;
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0 || this.#askedAt === 0) return;
    const said = this.#text.slice(0, end);
    const length = Number(/^content-length: (\d+)/im.exec(said)?.[1]);
    const body = this.#text.slice(end + 4);
    if (body.length < length) return;
    this.#answered(said.startsWith('HTTP/1.1 200 ') ? '' : said.slice(9, 12), body);
    if (/^connection: close/im.test(said)) this.#socket.destroy();
    else free.get(this.#host).push(this);
  }

  #answered(fault, body) {
    clearTimeout(this.#timer);
    open--;
    owed.set(this.#host, owed.get(this.#host) - 1);
    if (fault === '') count(seen, body.split(' ')[0]);
    else {
      failed++;
      lastFailedAt = Math.max(lastFailedAt, this.#askedAt);
      count(faults, `${this.#host} ${fault}`);
    }
    this.#askedAt = 0;
    finish();
  }

  #closed() {
    if (this.#askedAt !== 0) {
      this.#answered(this.#fault, '');
      return;
    }
    const waiting = free.get(this.#host);
    const at = waiting.indexOf(this);
    if (at >= 0) waiting.splice(at, 1);
  }
}

function finish() {
  if (!over || open > 0) return;
  const reached = asked / ((stoppedAt - started) / 1000);
  const about = { connections, rate: Math.round(reached) };
  process.stdout.write(JSON.stringify({ asked, failed, faults, seen, lastFailedAt, ...about }));
  process.exit(0);
}

const started = performance.now();
const timer = setInterval(() => {
  const due = ((performance.now() - started) / 1000) * Number(rate);
  while (asked < due) {
    const host = hosts[asked % hosts.length];
    if (owed.get(host) >= MAX_OPEN) return;
    const last = Math.floor(asked / hosts.length) % 100 < Number(fresh);
    const connection = (last ? undefined : free.get(host).shift()) ?? new Connection(host);
    connection.ask(last);
  }
}, TURN_MS);
process.stdin.resume();
process.stdin.on('end', () => {
  clearInterval(timer);
  stoppedAt = performance.now();
  over = true;
  finish();
});
