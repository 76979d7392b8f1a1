import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figure, mib, ms } from '../support/figures.ts';
import { mixedFaults, slopePerMinute } from '../support/mixed-faults.ts';
import { noProc } from '../support/processes.ts';

const SECONDS = Number(process.env['SOAK_SECONDS'] ?? 600);
const PER_SECOND = 1000;

test('mixed load with reloads, kills and churn: memory stays', { skip: noProc }, async (t) => {
  const { report, fresh, samples, done } = await mixedFaults(t, {
    seconds: SECONDS,
    perSecond: PER_SECOND,
  });
  const from = SECONDS * 1000 * 0.3;
  const slope = slopePerMinute(samples, from);
  const later = samples.filter(({ atMs }) => atMs > from);
  const fds = later.map((sample) => sample.fds);
  const lastFds = samples.at(-1)?.fds ?? 0;
  const all = Object.entries(done).map(([name, count]) => `${count} × ${name}`);
  figure(t, {
    experiment: '35',
    what: `${SECONDS} s at ${PER_SECOND} requests/s with ${all.join(', ')}`,
    measured: `RSS ${mib(samples[0]?.rssBytes ?? 0)} → ${mib(samples.at(-1)?.rssBytes ?? 0)}, slope ${mib(slope)}/min; descriptors ${Math.min(...fds)}–${Math.max(...fds)}, ${lastFds} at the end; failed: ${report.summary()} of ${report.sent}, new connections ${fresh.summary()} of ${fresh.sent}; p99 ${ms(report.percentile(99))}`,
    wanted: 'slope < 1 MiB/min, descriptors flat, 0 failed',
  });
  assert.ok(Object.keys(done).length === 5, `every fault fired: ${all}`);
  assert.deepEqual(report.failures(), []);
  assert.deepEqual(fresh.failures(), []);
  if (SECONDS >= 300) assert.ok(slope < 1_048_576, `${mib(slope)}/min`);
});
