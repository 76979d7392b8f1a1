import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatDiagnostics, loadConfig } from '../../src/config/load.ts';

const EXAMPLES = new URL('../../configs/examples/', import.meta.url).pathname;
const RUNS = 200;
const SCRAPS = ['{', '}', '[', ']', ': ', '- ', '\n', '  ', '"', '&a', '*a', '<<: ', '__proto__: '];
const MORE = [
  'constructor: {}\n',
  '${X}',
  '!!set',
  '|',
  '\t',
  '\u0000',
  '\u{1F600}',
  '-1',
  '1e999',
];

/** Numbers below `end` from a seed: a linear congruential generator. */
function numbers(seed: number): (end: number) => number {
  let state = seed >>> 0;
  return (end) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * end);
  };
}

function mutate(text: string, next: (end: number) => number): string {
  const at = next(text.length);
  const length = next(12);
  const scraps = [...SCRAPS, ...MORE];
  const from = next(text.length);
  const inserted = [scraps[next(scraps.length)] ?? '', '', text.slice(from, from + next(80))];
  return text.slice(0, at) + (inserted[next(3)] ?? '') + text.slice(at + length);
}

test('mutated examples load or are refused in words', (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 32);
  t.diagnostic(`seed ${seed}`);
  const next = numbers(seed);
  const names = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'));
  const texts = names.map((name) => readFileSync(EXAMPLES + name, 'utf8'));
  const before = Object.getOwnPropertyNames(Object.prototype).length;
  for (let run = 0; run < RUNS; run++) {
    let text = texts[next(texts.length)] ?? '';
    for (let count = 1 + next(5); count > 0; count--) text = mutate(text, next);
    const readFile = (path: string) => (path === 'sluice.yaml' ? text : undefined);
    const result = loadConfig(['sluice.yaml'], { readFile, env: {} });
    if (!result.ok) assert.match(formatDiagnostics(result.diagnostics), /^sluice\.yaml:\d+:\d+: /);
    assert.equal(Object.getOwnPropertyNames(Object.prototype).length, before, `run ${run}`);
  }
});
