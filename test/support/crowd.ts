// Clients that stay connected, of which now more and now fewer ask, each again as soon as it is answered:
// `crowd.ts PORT CLIENTS ASKING:SECONDS …` prints a line of JSON at the end of each phase. What clients cost
// by being there is the same in all phases, so that phases differ by what is asked alone.
import { spawn } from 'node:child_process';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** What the clients saw in a phase. */
export type CrowdPhase = {
  readonly served: number;
  /** Answers other than 200. */
  readonly refused: number;
  /** Connections that ended; they are made again. */
  readonly ended: number;
};

/** So many of the clients ask for so long. */
export type CrowdPlan = { readonly asking: number; readonly seconds: number };

/** Runs the phases on CPU 1, one after the other; each is told when it has ended. */
export async function* crowd(
  port: number,
  clients: number,
  phases: readonly CrowdPlan[],
): AsyncGenerator<CrowdPhase> {
  const plan = phases.map(({ asking, seconds }) => `${asking}:${seconds}`);
  const numbers = [port, clients].map(String);
  const command = ['-c', '1', process.execPath, import.meta.filename, ...numbers, ...plan];
  const child = spawn('taskset', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      yield JSON.parse(line) as CrowdPhase;
    }
  } finally {
    child.kill();
  }
}

const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'latin1');
/** Clients that connect at a time: fewer than a listener has places for. */
const CONNECTING = 100;
const received = Buffer.alloc(16_384);

const counts = { served: 0, refused: 0, ended: 0 };
let asking = 0;

class Client {
  readonly #place: number;
  readonly #port: number;
  #socket: net.Socket;
  #waits = false;

  constructor(place: number, port: number, connected: () => void) {
    this.#place = place;
    this.#port = port;
    this.#socket = this.#connect(connected);
  }

  ask(): void {
    if (this.#waits || this.#place >= asking || this.#socket.connecting) return;
    this.#waits = true;
    this.#socket.write(REQUEST);
  }

  #connect(connected: () => void): net.Socket {
    const onread = { buffer: received, callback: (length: number) => this.#answered(length) };
    const socket = net.connect({ port: this.#port, host: '127.0.0.1', noDelay: true, onread });
    socket.on('connect', connected);
    socket.on('error', () => {});
    socket.on('close', () => {
      counts.ended++;
      this.#waits = false;
      this.#socket = this.#connect(() => {
        connected();
        this.ask();
      });
    });
    return socket;
  }

  #answered(length: number): boolean {
    // `HTTP/1.1 200`: its body ends with a line end; of another answer the head is enough.
    const refused = received[0] === 0x48 && received[9] !== 0x32;
    const ends = received[length - 2] === 0x64 && received[length - 1] === 0x0a;
    if (this.#waits && (refused || ends)) {
      if (refused) counts.refused++;
      else counts.served++;
      this.#waits = false;
      this.ask();
    }
    return true;
  }
}

async function run(port: number, count: number, phases: readonly CrowdPlan[]): Promise<void> {
  const clients: Client[] = [];
  while (clients.length < count) {
    const group = Array.from({ length: Math.min(CONNECTING, count - clients.length) }, () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      clients.push(new Client(clients.length, port, resolve));
      return promise;
    });
    await Promise.all(group);
  }
  for (const phase of phases) {
    asking = phase.asking;
    const before = { ...counts };
    for (const client of clients) client.ask();
    await sleep(phase.seconds * 1000);
    const { served, refused, ended } = counts;
    const told: CrowdPhase = {
      served: served - before.served,
      refused: refused - before.refused,
      ended: ended - before.ended,
    };
    process.stdout.write(`${JSON.stringify(told)}\n`);
  }
  process.exit(0);
}

if (process.argv[1] === import.meta.filename) {
  const [port = 0, count = 0] = process.argv.slice(2, 4).map(Number);
  const phases = process.argv.slice(4).map((phase) => {
    const [some = 0, seconds = 0] = phase.split(':').map(Number);
    return { asking: some, seconds };
  });
  await run(port, count, phases);
}
