import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sluice } from '../../support/cli.ts';

const FIXTURES = new URL('../../fixtures/haproxy/', import.meta.url).pathname;
const NOWHERE = 'http://127.0.0.1:9';

function scratch(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-convert-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'haproxy.cfg');
  writeFileSync(file, text);
  return file;
}

test('convert writes what check accepts, and the report beside it', async (t) => {
  const file = scratch(t, readFileSync(`${FIXTURES}seed-haproxy.cfg`, 'utf8'));
  const output = file.replace('haproxy.cfg', 'sluice.yaml');
  const converted = await sluice(NOWHERE, 'convert', file, '--strict', '-o', output);
  assert.equal(converted.status, 0);
  assert.match(converted.err, /^translated: \d+\napproximated: 2\n {2}.*:4: log \/dev\/log/);
  const checked = await sluice(NOWHERE, 'check', '-c', output);
  assert.deepEqual([checked.status, checked.err], [0, '']);
});

test('strict: what is left out is a failure, with its line; without, it is told', async () => {
  const file = `${FIXTURES}legacy.cfg`;
  const [plain, strict] = await Promise.all([
    sluice(NOWHERE, 'convert', file),
    sluice(NOWHERE, 'convert', '--from', 'haproxy', '--strict', file),
  ]);
  assert.deepEqual([plain.status, strict.status], [0, 1]);
  assert.equal(plain.out, strict.out);
  assert.match(strict.err, /legacy\.cfg:21: http-request lua\.auth: /);
});

test('what HAProxy would refuse is an error with its line, and nothing is written', async (t) => {
  const file = scratch(t, 'frontend f\n bind :80\n default_backend nobody\n');
  const { status, out, err } = await sluice(NOWHERE, 'convert', file);
  assert.deepEqual([status, out], [1, '']);
  assert.match(err, /haproxy\.cfg:3:1: default_backend nobody: there is no backend "nobody"/);
});

test('a file that cannot be read is told with the reason', async (t) => {
  const text = 'frontend f\n mode http\n bind :80\n use_backend %[path,map(/no/such.map)]\n';
  const [none, map] = await Promise.all([
    sluice(NOWHERE, 'convert', '/no/such.cfg'),
    sluice(NOWHERE, 'convert', scratch(t, text)),
  ]);
  assert.equal(none.status, 1);
  assert.match(none.err, /\/no\/such\.cfg cannot be read: no such file or directory\n/);
  assert.match(map.err, /the map \/no\/such\.map cannot be read: no such file or directory\n/);
});
