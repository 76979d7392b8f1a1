import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { cpuSeconds } from '../../../bench/lib/usage.ts';
import { eventually } from '../../support/gateway.ts';
import { endAll, isAlive, noProc, processTree } from '../../support/processes.ts';

const PROCESSES = new URL('../../../bench/lib/processes.ts', import.meta.url).href;
const BURN = 'while (process.cpuUsage().user < 300_000);';

test('the CPU of a process whose child has ended holds what the child used', {
  skip: noProc,
}, async (t) => {
  const work = `"${process.execPath}" -e '${BURN}'; echo done; read line`;
  const shell = spawn('sh', ['-c', work], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => shell.kill('SIGKILL'));
  await once(shell.stdout, 'data');
  assert.ok(cpuSeconds(shell.pid ?? 0) >= 0.3);
});

/** Starts something that has a child in a session of its own, as Sluice's workers are. */
const RUN = `
  const { start } = await import('${PROCESSES}');
  const command = ['sh', '-c', 'setsid sleep 600 & wait'];
  await start('sleeper', '0', command, () => Promise.resolve(true));
  process.send?.('started');
  setInterval(() => {}, 1000);
`;

test('an interrupted benchmark leaves no process behind', { skip: noProc }, async (t) => {
  const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const;
  const run = spawn(process.execPath, ['--input-type=module', '-e', RUN], { stdio: [...stdio] });
  const pid = run.pid ?? 0;
  await once(run, 'message');
  let tree: number[] = [];
  t.after(() => endAll(tree));
  await eventually('sh and sleep run', () => {
    tree = processTree(pid);
    return tree.length === 3;
  });
  run.kill('SIGTERM');
  await eventually('all have ended', () => !tree.some(isAlive));
});

test('what a program says that does not start is in the error', async () => {
  const { start } = await import(PROCESSES);
  const command = ['sh', '-c', 'echo no such option >&2; exit 1'];
  await assert.rejects(
    start('picky', '0', command, () => Promise.resolve(false)),
    /picky did not start: no such option/,
  );
});
