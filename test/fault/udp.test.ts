import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { figure, ms } from '../support/figures.ts';
import { freePorts, Gateway } from '../support/gateway.ts';

const FLOWS = 5000;
const ECHO = `const dgram = require('node:dgram');
const socket = dgram.createSocket('udp4');
socket.on('message', (data, from) => socket.send(process.argv[2] + ':' + data, from.port, from.address));
socket.bind(Number(process.argv[1]), '127.0.0.1', () => console.log('ready'));`;

/** A UDP server process that answers each datagram with its name before it. */
async function echo(t: TestContext, port: number, name: string) {
  const child = spawn(process.execPath, ['-e', ECHO, String(port), name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

/** One client address with what became of each of its datagrams. */
class Flow {
  readonly socket = dgram.createSocket('udp4');
  /** Who answered last. */
  by = '';
  readonly unanswered = new Map<number, number>();

  async connect(port: number): Promise<void> {
    this.socket.connect(port, '127.0.0.1');
    await once(this.socket, 'connect');
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      const [name = '', number = ''] = data.toString().split(':');
      this.by = name;
      this.unanswered.delete(Number(number));
    });
  }

  send(number: number): void {
    this.unanswered.set(number, performance.now());
    this.socket.send(String(number));
  }
}

test('UDP: a backend with half of 5,000 flows is killed', async (t) => {
  const [port = 0, one = 0, two = 0] = await freePorts(3);
  const [first] = await Promise.all([echo(t, one, 'one'), echo(t, two, 'two')]);
  const gateway = await Gateway.start(
    `listeners:
  dns: { bind: "127.0.0.1:${port}", protocol: udp, service: dns }
services:
  dns: { balance: round-robin, health: false, endpoints: ["127.0.0.1:${one}", "127.0.0.1:${two}"] }
`,
    { workers: 2 },
  );
  t.after(() => gateway.stop());
  const flows = Array.from({ length: FLOWS }, () => new Flow());
  t.after(() => {
    for (const flow of flows) flow.socket.close();
  });
  for (const flow of flows) await flow.connect(port);
  let number = 0;
  let killedAt = Number.POSITIVE_INFINITY;
  const onOne = () => flows.filter(({ by }) => by === 'one').length;
  let before = 0;
  // Every flow sends once a second, 8 times; the kill comes after the third.
  const began = performance.now();
  for (let round = 0; round < 8; round++) {
    for (const [at, flow] of flows.entries()) {
      flow.send(number++);
      const due = began + round * 1000 + (at * 1000) / FLOWS;
      // Never more than a handful at once, or the kernel's buffers drop what the gateway never saw.
      if (performance.now() < due || at % 10 === 0)
        await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (round === 2) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      before = onOne();
      first.kill('SIGKILL');
      killedAt = performance.now();
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  const lost = flows.flatMap(({ unanswered }) => [...unanswered.values()]);
  const late = lost.filter((sentAt) => sentAt > killedAt + 1000).length;
  const early = lost.filter((sentAt) => sentAt < killedAt - 300).length;
  const lastMs = Math.max(0, ...lost.map((sentAt) => sentAt - killedAt));
  figure(t, {
    experiment: '34',
    what: `${FLOWS} UDP flows, the backend of ${before} killed`,
    measured: `${lost.length} of ${number} datagrams unanswered, the last sent ${ms(lastMs)} after the kill; ${onOne()} flows not moved`,
    wanted: 'all moved ≤ 1 s',
  });
  assert.ok(before > FLOWS / 3, `${before} flows were on it`);
  assert.ok(early < number / 100, `${early} were lost before`);
  assert.equal(late, 0);
  assert.equal(onOne(), 0);
});
