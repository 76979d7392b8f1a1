import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../src/base/clock.ts';
import { seededRng } from '../../../src/base/rng.ts';
import { macOf } from '../../../src/control/attachments.ts';
import { EventLog } from '../../../src/control/event-log.ts';
import { afterCheck, checkDelay, UNKNOWN_HEALTH } from '../../../src/control/health-state.ts';
import { parseResolvConf } from '../../../src/control/host-files.ts';
import { lookUp } from '../../../src/control/lookup.ts';
import { generateName } from '../../../src/control/names.ts';
import { PortAllocator } from '../../../src/control/port-allocator.ts';
import { restartDelay, startsWithDaemon } from '../../../src/control/restart-policy.ts';
import { signalName } from '../../../src/control/signals.ts';
import { Waiters } from '../../../src/control/waiters.ts';

test('RR-04 RR-05 restarts come after 100 ms, then twice as long each time, at most a minute', () => {
  const run = { exitCode: 1, stopped: false, restartCount: 0, ranMs: 5 };
  const delays: number[] = [];
  let lastDelayMs = 0;
  for (let count = 0; count < 12; count++) {
    lastDelayMs = restartDelay({ when: 'always', maximum: 0 }, { ...run, lastDelayMs }) ?? -1;
    delays.push(lastDelayMs);
  }
  assert.deepEqual(delays.slice(0, 5), [100, 200, 400, 800, 1600]);
  assert.deepEqual(delays.slice(-2), [60_000, 60_000]);
  const good = { ...run, ranMs: 10_000, lastDelayMs: 60_000 };
  assert.equal(restartDelay({ when: 'always', maximum: 0 }, good), 100);
});

test('each rule restarts what it is for', () => {
  const run = { exitCode: 1, stopped: false, restartCount: 0, ranMs: 0, lastDelayMs: 0 };
  const rule = (when: 'no' | 'always' | 'unless-stopped' | 'on-failure', maximum = 0) => ({
    when,
    maximum,
  });
  assert.equal(restartDelay(rule('no'), run), undefined);
  assert.equal(restartDelay(rule('on-failure'), { ...run, exitCode: 0 }), undefined);
  assert.equal(restartDelay(rule('on-failure'), run), 100);
  assert.equal(restartDelay(rule('on-failure', 2), { ...run, restartCount: 2 }), undefined);
  assert.equal(restartDelay(rule('always'), { ...run, stopped: true }), undefined);
  const state = { stopped: true, exitCode: 0, everStarted: true };
  assert.equal(startsWithDaemon(rule('always'), state), true);
  assert.equal(startsWithDaemon(rule('unless-stopped'), state), false);
  assert.equal(startsWithDaemon(rule('always'), { ...state, everStarted: false }), false);
});

test('health: failures count after the start period, and five records are kept', () => {
  const check = { retries: 3, startPeriodMs: 1000 };
  const record = (exitCode: number) => ({ start: '', end: '', exitCode, output: '' });
  let health = afterCheck(UNKNOWN_HEALTH, check, record(1), 500);
  assert.deepEqual([health.status, health.failingStreak], ['starting', 0]);
  for (let count = 0; count < 3; count++) health = afterCheck(health, check, record(1), 2000);
  assert.deepEqual([health.status, health.failingStreak], ['unhealthy', 3]);
  health = afterCheck(health, check, record(0), 3000);
  assert.deepEqual([health.status, health.failingStreak], ['healthy', 0]);
  health = afterCheck(health, check, record(1), 500);
  assert.equal(health.failingStreak, 1, 'a start period ends with the first success');
  for (let count = 0; count < 9; count++) health = afterCheck(health, check, record(0), 9000);
  assert.equal(health.log.length, 5);
  const delays = { startIntervalMs: 5, intervalMs: 30, startPeriodMs: 100, retries: 3 };
  const whole = { ...delays, argv: [], shell: false, timeoutMs: 1 };
  assert.equal(checkDelay(UNKNOWN_HEALTH, whole, 50), 5);
  assert.equal(checkDelay(UNKNOWN_HEALTH, whole, 200), 30);
});

test('no port is held twice for addresses that clash, and all come back', () => {
  const address = fc.constantFrom(undefined, '0.0.0.0', '127.0.0.1', '192.0.2.1', '::1');
  const order = fc.record({
    address,
    port: fc.integer({ min: 1, max: 4 }),
    owner: fc.constantFrom('a', 'b', 'c'),
    release: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(order, { maxLength: 60 }), (orders) => {
      const ports = new PortAllocator([1, 4]);
      let held: { address: string | undefined; port: number; owner: string }[] = [];
      const family = (text: string) => text.includes(':');
      for (const { address: hostAddress, port: hostPort, owner, release } of orders) {
        if (release) {
          ports.release(owner);
          held = held.filter((one) => one.owner !== owner);
          continue;
        }
        const clash = held.some(({ address: other, port }) => {
          if (port !== hostPort) return false;
          if (other === undefined || hostAddress === undefined || other === hostAddress)
            return true;
          const wild = other === '0.0.0.0' || hostAddress === '0.0.0.0';
          return wild && family(other) === family(hostAddress);
        });
        const taken = ports.take({ transport: 'tcp', hostPort, hostAddress }, owner);
        assert.equal(taken, !clash);
        if (taken) held.push({ address: hostAddress, port: hostPort, owner });
      }
    }),
  );
});

test('a range gives its first free port, no number the next in turn, none an error', () => {
  const ports = new PortAllocator([40_000, 40_001]);
  const any = { transport: 'tcp' as const, hostAddress: undefined, hostPorts: undefined };
  const range = { ...any, hostPorts: [9000, 9002] as const };
  assert.deepEqual(
    [1, 2, 3].map(() => ports.choose(range, 'a')),
    [9000, 9001, 9002],
  );
  assert.throws(() => ports.choose(range, 'a'), /Bind for 0.0.0.0:9000-9002 failed/);
  assert.deepEqual(
    [1, 2].map(() => ports.choose(any, 'b')),
    [40_000, 40_001],
  );
  assert.throws(() => ports.choose(any, 'c'), /all ports are allocated/);
  ports.release('b');
  assert.equal(ports.choose(any, 'c', new Set([40_000])), 40_001);
  assert.throws(
    () => ports.choose({ ...any, hostAddress: '::1', hostPorts: [40_001, 40_001] }, 'd'),
    { message: 'Bind for [::1]:40001 failed: port is already allocated' },
  );
});

test('objects are found by id, name, then the beginning of an id', () => {
  const objects = [
    { id: 'abc1', name: 'abd' },
    { id: 'abd2', name: 'abc1' },
    { id: 'abd3', name: 'z' },
  ];
  assert.equal(lookUp(objects, 'abc1', 'network')?.name, 'abd');
  assert.equal(lookUp(objects, 'abd', 'network')?.id, 'abc1');
  assert.equal(lookUp(objects, 'abd3', 'network')?.name, 'z');
  assert.equal(lookUp(objects, 'q', 'network'), undefined);
  assert.throws(() => lookUp(objects, 'ab', 'network'), {
    message: 'network ab is ambiguous (3 matches found based on ID prefix)',
  });
});

test('events keep the latest 256 and never the same time twice', () => {
  const log = new EventLog(new ManualClock());
  const heard: string[] = [];
  const end = log.subscribe(({ action }) => heard.push(action));
  for (let count = 0; count < 300; count++) log.emit('network', String(count), 'id', {});
  end();
  log.emit('network', 'unheard', 'id', {});
  assert.equal(log.recent.length, 256);
  assert.equal(heard.length, 300);
  assert.equal(log.recent.at(-1)?.action, 'unheard');
  const times = log.recent.map(({ timeNs }) => timeNs);
  assert.ok(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0n)));
});

test('names are made up until one is free', () => {
  const taken = new Set<string>();
  for (let count = 0; count < 5000; count++) {
    const name = generateName(seededRng(count % 7), (one) => taken.has(one));
    assert.match(name, /^[a-z]+_[a-z]+\d*$/);
    taken.add(name);
  }
  assert.equal(taken.size, 5000);
});

test('waiters are answered by what they wait for', async () => {
  const waiters = new Waiters();
  const exit = waiters.add('a', 'next-exit');
  const removal = waiters.add('a', 'removed');
  const cancelled = waiters.add('a', 'not-running');
  cancelled.cancel();
  waiters.ended('a', { exitCode: 3, error: undefined });
  assert.equal((await exit.result).exitCode, 3);
  let removed = false;
  void removal.result.then(() => {
    removed = true;
  });
  await Promise.resolve();
  assert.equal(removed, false);
  waiters.removed('a', { exitCode: 4, error: undefined });
  assert.equal((await removal.result).exitCode, 4);
});

test('signals by name and number', () => {
  assert.deepEqual(['TERM', 'sigterm', '15', 'SIGTERM'].map(signalName), Array(4).fill('SIGTERM'));
  assert.throws(() => signalName('NONE'), /invalid signal: NONE/);
});

test('hardware addresses come from the address', () => {
  assert.equal(macOf('172.17.0.2'), '02:42:ac:11:00:02');
});

test('resolv.conf: the last search wins, options add up', () => {
  const text = 'nameserver 192.0.2.1\n# x\ndomain a.test\nsearch b.test c.test\noptions ndots:2\n';
  assert.deepEqual(parseResolvConf(text), {
    servers: ['192.0.2.1'],
    search: ['b.test', 'c.test'],
    options: ['ndots:2'],
  });
});
