import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { figure, ms } from '../support/figures.ts';
import { startLoad } from '../support/load.ts';
import { startSite } from '../support/site.ts';

/** Debian's faketime: every program that it is loaded into sees the wall clock of a file. */
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1';
const STEPS = ['+3600', '-3600', '+0'];
const STEP_MS = 10_000;

const sleep = (delayMs: number) => new Promise((resolve) => setTimeout(resolve, delayMs));

test("the host's wall clock jumps by an hour, ahead and back", {
  skip: existsSync(FAKETIME) ? false : 'needs faketime',
}, async (t) => {
  let clock = '';
  const site = await startSite(t, {
    prepare: (directory) => {
      clock = join(directory, 'clock');
      writeFileSync(clock, '+0');
    },
    env: {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: '{DIR}/clock',
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
  });
  const { port, gateway } = site;
  const workers = String(await gateway.workers());
  const load = await startLoad(t, { port, perSecond: 500, connections: 50, timeoutMs: 10_000 });
  const seen: number[] = [];
  for (const step of STEPS) {
    writeFileSync(clock, step);
    await sleep(STEP_MS);
    const response = await fetch(`http://127.0.0.1:${gateway.adminPort}/healthz`);
    seen.push(Math.round((Date.parse(response.headers.get('date') ?? '') - Date.now()) / 1000));
    await response.arrayBuffer();
  }
  load.stop();
  const report = await load.done;
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  const same = String(await gateway.workers()) === workers;
  const put = text.includes('"ejected":true') || text.includes('"check":"down"');
  figure(t, {
    experiment: '25',
    what: `wall clock at ${STEPS.join(', ')} s for ${STEP_MS / 1000} s each, 500 requests/s`,
    measured: `failed: ${report.summary()} of ${report.sent}; same workers: ${same}; endpoint put aside: ${put}; worst ${ms(report.worstMs)}`,
    wanted: '0 failed, none put aside',
  });
  assert.ok(
    seen.every((offset, at) => Math.abs(offset - Number(STEPS[at])) < 5),
    `seen ${seen}`,
  );
  assert.deepEqual(report.failures(), []);
  assert.ok(!put, text);
  assert.ok(same, gateway.output);
});
