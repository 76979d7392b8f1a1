import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EmbeddedStore } from '../../src/store/embedded-store.ts';
import { figure } from '../support/figures.ts';
import { seeded } from '../support/seed.ts';

const WRITER = fileURLToPath(new URL('../support/store-writer.ts', import.meta.url));
const RUNS = Number(process.env['STORE_RUNS'] ?? 200);
/** System calls of a writer up to which one is chosen, spread evenly over the orders of magnitude. */
const CALLS = 2000;
const RUN_MS = 60_000;

/** What is done to the chosen call of a process, in strace's words. */
const FAULTS = {
  'killed at a system call': { calls: 'pwrite64,fsync,fdatasync,ftruncate', what: 'signal=KILL' },
  'no space left from a write on': { calls: 'pwrite64', what: 'error=ENOSPC', onward: true },
  'the disk fails to keep what was written': { calls: 'fsync,fdatasync', what: 'error=EIO' },
};

/** Runs a writer until it ends by the fault; how many pairs it had acknowledged. */
function write(path: string, inject: string): Promise<{ acknowledged: number; ended: boolean }> {
  const argv = ['-f', '-qq', '-o', '/dev/null', '-e', `inject=${inject}`];
  const child = spawn('strace', [...argv, process.execPath, WRITER, path], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    timeout: RUN_MS,
  });
  let acknowledged = 0;
  child.on('message', (count) => {
    acknowledged = Number(count);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ acknowledged, ended: code !== 0 }));
  });
}

for (const [name, { calls, what, ...rest }] of Object.entries(FAULTS)) {
  test(`a store's writer: ${name}`, {
    skip: existsSync('/usr/bin/strace') ? false : 'needs strace',
  }, async (t) => {
    const rng = seeded(t);
    const folder = mkdtempSync(join(tmpdir(), 'sluice-store-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    let [fired, written] = [0, 0];
    for (let run = 0; run < RUNS; run++) {
      const path = join(folder, `${run}.db`);
      const call = Math.ceil(CALLS ** rng.next());
      const inject = `${calls}:${what}:when=${call}${'onward' in rest ? '+' : ''}`;
      const { acknowledged, ended } = await write(path, inject);
      if (ended) fired++;
      written += acknowledged;
      const store = EmbeddedStore.open(path);
      const [left, right] = [store.list('left'), store.list('right')];
      store.close();
      assert.deepEqual(left, right, `${inject}: a transaction is there as a whole or not at all`);
      assert.ok(left.length >= acknowledged, `${inject}: ${left.length} of ${acknowledged}`);
      assert.ok(
        left.every(({ value }, at) => value === at + 1),
        `${inject}: in order`,
      );
    }
    figure(t, {
      experiment: '21, 22',
      what: `${RUNS} writers of the embedded store, ${name}`,
      measured: `${fired} met the fault; all opened again, ${written} acknowledged writes whole`,
      wanted: 'every start opens the store, no acknowledged write lost',
    });
    assert.ok(fired > RUNS / 2, `${fired} of ${RUNS} met the fault`);
  });
}
