import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatDiagnostics, loadConfig } from '../../src/config/load.ts';
import { makeCertificates, noCertificates } from '../support/certs.ts';

const CONFIGS = new URL('../../configs/', import.meta.url).pathname;

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function assertLoads(path: string): void {
  const result = loadConfig([path], { readFile, env: {} });
  assert.ok(result.ok, result.ok ? '' : formatDiagnostics(result.diagnostics));
}

test('every example loads', { skip: noCertificates() }, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-examples-'));
  t.after(() => rmSync(dir, { recursive: true }));
  makeCertificates(join(dir, 'certs'));
  const names = readdirSync(join(CONFIGS, 'examples')).filter((name) => name.endsWith('.yaml'));
  assert.ok(names.length >= 8, 'the examples are there');
  for (const name of names) {
    await t.test(name, () => {
      copyFileSync(join(CONFIGS, 'examples', name), join(dir, name));
      assertLoads(join(dir, name));
    });
  }
});

test('the quickstart loads', () => assertLoads(join(CONFIGS, 'quickstart.yaml')));
