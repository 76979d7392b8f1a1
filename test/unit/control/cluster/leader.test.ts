import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../../src/base/clock.ts';
import { SluiceError } from '../../../../src/base/errors.ts';
import { type Logger, silentLogger } from '../../../../src/base/logger.ts';
import { findNode } from '../../../../src/control/cluster/cluster-state.ts';
import { Leader } from '../../../../src/control/cluster/orchestration/leader.ts';
import type { Plan, Stage } from '../../../../src/control/cluster/orchestration/stage.ts';
import type { ClusterView, Touched } from '../../../../src/control/cluster/orchestration/view.ts';
import { KIND } from '../../../../src/model/cluster.ts';
import type { Change } from '../../../../src/store/embedded-store.ts';
import { LocalStore } from '../../../../src/store/local-store.ts';
import { MAX_CHANGES } from '../../../../src/store/store.ts';
import { aNode } from '../../../support/cluster-objects.ts';

const NOTHING: Plan = { groups: [], wakeAt: undefined };

/** A store that does what a test says before it does what it is told. */
class Trouble extends LocalStore {
  before: (changes: readonly Change[]) => Promise<void> = async () => {};
  readonly sizes: number[] = [];

  override async update(changes: readonly Change[]): Promise<number> {
    await this.before(changes);
    this.sizes.push(changes.length);
    return super.update(changes);
  }
}

class Recorded implements Stage {
  readonly seen: Touched[] = [];
  readonly #plan: (view: ClusterView, now: number) => Plan;

  constructor(plan: (view: ClusterView, now: number) => Plan) {
    this.#plan = plan;
  }

  plan(view: ClusterView, touched: Touched, now: number): Plan {
    this.seen.push(touched);
    return this.#plan(view, now);
  }
}

function bench(stages: readonly Stage[], logger: Logger = silentLogger) {
  const clock = new ManualClock();
  const store = new Trouble(':memory:');
  const leader = new Leader({ store, clock, logger }, stages);
  const pass = async (ms = 20) => {
    for (let at = 0; at < ms; at += 5) {
      clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { clock, store, leader, pass };
}

function put(id: string, more = {}): Change {
  return { kind: KIND.node, id, value: aNode(id, more) };
}

test('a stage sees what changed, and what the stages before it wrote', async () => {
  const first = new Recorded((view) => ({
    groups: view.nodes.has('a') && !view.nodes.has('b') ? [[put('b')]] : [],
    wakeAt: undefined,
  }));
  const second = new Recorded(() => NOTHING);
  const { store, pass, leader } = bench([first, second]);
  await pass();
  await store.update([put('a')]);
  await pass();
  assert.deepEqual(
    second.seen.map(({ nodes }) => [...nodes]),
    [['a', 'b']],
  );
  leader.end();
  await store.update([put('c')]);
  await pass();
  assert.equal(second.seen.length, 1, 'nothing after its end');
});

test('many groups become few transactions; one that is stale takes no other with it', async () => {
  const ids = Array.from({ length: 100 }, (_, index) => `n${index}`);
  const stage = new Recorded((view) => ({
    groups: view.nodes.size < ids.length ? ids.map((id) => [{ ...put(id), expected: 0 }]) : [],
    wakeAt: undefined,
  }));
  const { store, pass } = bench([stage]);
  await store.update([put('n7', { name: 'older' })]);
  store.sizes.length = 0;
  await pass();
  assert.equal(store.list(KIND.node).length, 100);
  assert.equal(store.sizes.filter((size) => size === MAX_CHANGES).length, 1);
  assert.equal(findNode(store, 'n7')?.name, 'older');
});

test('a store that is away is tried again, and the stage then sees everything', async () => {
  const stage = new Recorded((view) => ({
    groups: view.nodes.has('b') ? [] : [[put('b')]],
    wakeAt: undefined,
  }));
  const { store, pass } = bench([stage]);
  let tries = 0;
  store.before = async (changes) => {
    if (changes[0]?.id === 'b' && ++tries <= 4) throw new SluiceError('E_STORE_FAILED', 'away');
  };
  await store.update([put('a')]);
  await pass(1000);
  assert.equal(tries, 4, 'with longer and longer pauses');
  await pass(1000);
  assert.ok(store.get(KIND.node, 'b'));
  assert.ok(stage.seen.at(-2)?.nodes.has('a'));
});

test('a stage that throws is told in the log, is tried again, and stops no other', async () => {
  const lines: unknown[] = [];
  const logger: Logger = { ...silentLogger, error: (_, fields) => lines.push(fields?.['reason']) };
  let broken = true;
  const first = new Recorded(() => {
    if (broken) throw new Error('broken');
    return NOTHING;
  });
  const second = new Recorded(() => NOTHING);
  const { store, pass } = bench([first, second], logger);
  await store.update([put('a')]);
  await pass();
  assert.deepEqual([first.seen.length, second.seen.length, lines], [1, 1, ['broken']]);
  broken = false;
  await pass(6000);
  assert.equal(first.seen.length, 2);
  assert.ok(first.seen[1]?.nodes.has('a'));
});

test('a stage is woken at its time, and never while a round is still going on', async () => {
  const times: number[] = [];
  const stage = new Recorded((_, now) => {
    times.push(now);
    return { groups: [], wakeAt: times.length < 3 ? now + 1000 : undefined };
  });
  let rounds = 0;
  let most = 0;
  const slow = new Recorded(() => ({ groups: [[put(`x${rounds}`)]], wakeAt: undefined }));
  const { store, pass } = bench([stage, slow]);
  let release = () => {};
  store.before = async ({ 0: change }) => {
    if (!change?.id.startsWith('x')) return;
    most = Math.max(most, ++rounds);
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    rounds--;
  };
  await store.update([put('a')]);
  await pass(500);
  await store.update([put('b')]);
  await pass(500);
  assert.deepEqual([times.length, most], [1, 1]);
  release();
  store.before = async () => {};
  await pass(10);
  assert.ok(times.length >= 2);
});
