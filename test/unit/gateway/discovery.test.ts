import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileSource } from '../../../src/gateway/discovery/file-source.ts';

function fileOf(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-discovery-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'endpoints');
  writeFileSync(path, text);
  return path;
}

const lists: [string, string[]][] = [
  ['127.0.0.1:1\n127.0.0.1:2\n', ['127.0.0.1:1', '127.0.0.1:2']],
  ['# two\n[::1]:80\nweb.internal:81 # one\n', ['[::1]:80', 'web.internal:81']],
  ['- 127.0.0.1:1\n- { address: "[::1]:2", weight: 256 }\n', ['127.0.0.1:1', '[::1]:2']],
  ['["127.0.0.1:1"]', ['127.0.0.1:1']],
  ['# none\n', []],
];
for (const [text, ids] of lists) {
  test(`reads ${JSON.stringify(text)}`, async (t) => {
    const { specs } = await fileSource(fileOf(t, text)).read(false);
    assert.deepEqual(
      specs.map(({ id }) => id),
      ids,
    );
  });
}

for (const text of [
  '- { address: "127.0.0.1:1", weight: -5 }',
  '- { address: "127.0.0.1:1", weight: 257 }',
  '- { address: "127.0.0.1:1", weight: heavy }',
  '- { weight: 1 }',
  '- 7',
  '127.0.0.1:99999',
]) {
  test(`refuses ${JSON.stringify(text)}`, async (t) => {
    await assert.rejects(fileSource(fileOf(t, text)).read(false));
  });
}
