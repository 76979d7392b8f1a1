import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { exchange } from '../support/attack.ts';
import { compareAll, throughGateway } from '../support/differential.ts';
import { figure } from '../support/figures.ts';
import { eventually, freePorts } from '../support/gateway.ts';
import { Oracle } from '../support/oracle.ts';

const COUNT = Number(process.env['FUZZ_MESSAGES'] ?? 20_000);
const PROXY = new URL('../../bench/lib/http-proxy.ts', import.meta.url).pathname;

test('20,000 mutated requests are read by the origin as they were sent', async (t) => {
  const { sent, taken, refused, wrong } = await throughGateway(t, COUNT);
  const measured = `${wrong.length} read differently, ${taken} taken, ${refused} refused`;
  const what = `${sent} mutated HTTP/1 messages`;
  figure(t, { experiment: '3.2', what, measured, wanted: '0 read differently' });
  assert.deepEqual(wrong, []);
});

test('the same through http-proxy, to show that the comparison finds something', async (t) => {
  const origin = new Oracle();
  const [originPort, [port = 0]] = await Promise.all([origin.start(), freePorts(1)]);
  const proxy = spawn(process.execPath, [PROXY, String(port), String(originPort)]);
  t.after(() => {
    proxy.kill();
    origin.stop();
  });
  await eventually('http-proxy serves', async () => {
    const { ending } = await exchange(port, 'GET / HTTP/1.0\r\n\r\n');
    return ending === 'end';
  });
  const { sent, taken, wrong } = await compareAll(t, 2000, port, origin);
  const measured = `${wrong.length} read differently (stopped at 10), ${taken} taken`;
  const what = `${sent} mutated HTTP/1 messages through http-proxy`;
  figure(t, { experiment: '3.2', what, measured, wanted: 'comparison' });
});
