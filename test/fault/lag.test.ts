import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { eventually } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';
import { endAll } from '../support/processes.ts';
import { startSite } from '../support/site.ts';

const SHED = 'sluice_overload_shed_total';

/** Freezes a process again and again, until it is ended itself. */
const FREEZES = `const pid = Number(process.argv[1]);
  const pause = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  for (;;) { process.kill(pid, 'SIGSTOP'); pause(450); process.kill(pid, 'SIGCONT'); pause(20); }`;

test('a worker that falls behind refuses a share of new requests and says so, then recovers', async (t) => {
  const { port, gateway } = await startSite(t, { backends: 1, workers: 1 });
  const [worker = 0] = await gateway.workers();
  t.after(() => endAll([worker], 'SIGCONT'));
  let loading = true;
  let health = '';
  let shed = 0;
  const enough = () => health.includes('overloaded') && shed > 0;
  const load = pacedLoad(port, { perSecond: 200, seconds: 60, until: enough }).finally(() => {
    loading = false;
  });
  // Beside the freezes, so that looking does not give the worker time to catch up.
  const watching = (async () => {
    while (loading && !enough()) {
      if (!health.includes('overloaded')) health = (await gateway.admin('/healthz')).text;
      else shed = (await gateway.metric(`${SHED}{reason="lag"}`)) ?? 0;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  // By a process of its own: this one is busy with the answers whenever the worker goes on. It goes
  // on for less than the time between two looks, so that each of them is late; starting programs to
  // sleep would take longer than that on a busy machine.
  const freezer = spawn(process.execPath, ['-e', FREEZES, String(worker)], { stdio: 'ignore' });
  t.after(() => freezer.kill());
  await watching;
  freezer.kill();
  endAll([worker], 'SIGCONT');
  const refused = (await load).filter(({ status }) => status === 503);
  assert.match(health, /"overloaded","reasons":\["lag"\]/);
  assert.ok(refused.length > 0);
  // A client that gave up while the worker was frozen has not seen its answer.
  const counted = (await gateway.metric(`${SHED}{reason="lag"}`)) ?? 0;
  assert.ok(counted >= refused.length, `${counted} counted, ${refused.length} seen`);
  assert.match(gateway.output, /overloaded: new requests are refused/);
  await eventually('it has recovered', async () => {
    const lag = await gateway.metric('sluice_overloaded{reason="lag"}');
    return lag === 0 && (await gateway.admin('/healthz')).text.includes('"ok"');
  });
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 100, seconds: 0.5 })), []);
});
