import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figure, ms } from '../support/figures.ts';
import { startLoad } from '../support/load.ts';
import { noProc } from '../support/processes.ts';
import { startSite } from '../support/site.ts';

const PAUSE_MS = 13_000;

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

for (const who of ['supervisor', 'whole daemon'] as const) {
  test(`the ${who} stands still for 13 s and goes on`, { skip: noProc }, async (t) => {
    const site = await startSite(t);
    const { port } = site;
    const pids = site.pids();
    const paused = who === 'supervisor' ? pids.slice(0, 1) : pids;
    t.after(() => {
      for (const pid of paused) {
        try {
          process.kill(pid, 'SIGCONT');
        } catch {
          // It has ended, which the assertions tell.
        }
      }
    });
    const load = await startLoad(t, { port, perSecond: 200, connections: 4000, timeoutMs: 20_000 });
    await sleep(1000);
    for (const pid of paused) process.kill(pid, 'SIGSTOP');
    await sleep(PAUSE_MS);
    for (const pid of paused) process.kill(pid, 'SIGCONT');
    const resumedMs = load.elapsedMs();
    await sleep(5000);
    load.stop();
    const report = await load.done;
    const late = report.failures().filter(({ dueMs }) => dueMs > resumedMs + 500);
    const same = String(site.pids()) === String(pids);
    const { text } = await site.gateway.admin('/v1/services/app/endpoints');
    figure(t, {
      experiment: '3.6',
      what: `${who} stopped for ${PAUSE_MS / 1000} s at 200 requests/s`,
      measured: `same processes: ${same}; failed: ${report.summary()} of ${report.sent}, ${late.length} of them after it went on; worst ${ms(report.worstMs)}`,
      wanted: 'no worker replaced, no endpoint put aside, 0 failed after it',
    });
    assert.ok(same, site.gateway.output);
    assert.ok(!text.includes('"ejected":true') && !text.includes('"check":"down"'), text);
    assert.deepEqual(late, []);
    if (who === 'supervisor') assert.deepEqual(report.failures(), []);
    else assert.ok(report.worstMs > PAUSE_MS / 2, 'the pause was felt');
  });
}
