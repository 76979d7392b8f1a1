import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatDiagnostics, loadConfig } from '../../src/config/load.ts';
import { plainYaml } from '../../src/config/plain-yaml.ts';
import { parseSource } from '../../src/config/source-text.ts';
import { mutate as mutateLines } from '../support/mutate.ts';
import { seeded } from '../support/seed.ts';

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

/** Lines and scraps in all the ways that YAML has, right and wrong. */
const YAML = `# comment
a: 1 # one
b:
- x: "q: #" # c
  y: 'it'
-   z: [1, -2.50, true, {k: null, "l": 10s,}, 127.0.0.1:80]
- - deep
  -
    w: http://h/#x
c:

  d.e: 007
  f: True
g: a - b #c
`;
const YAML_SCRAPS = [
  ...[' ', '  ', '\n', ': ', ':', '- ', '-', ' #', '#', ', ', ',', '{', '}', '[', ']', '"', "'"],
  ...['? ', '*', '&a ', '!', '|', '>', '%', '---\n', '...\n', '\t', '\r', '\\', 'é', '~', '1e3'],
  ...['  - a: b\n', '- a\n', 'a: 2\n', '    x\n', '0x1f', '.5', '.inf', '+1', '1_0', 'yes', '<<: '],
  ...['__proto__: 1\n', 'prototype: 1\n', "''", '""', '{}', '[]', 'null: ', 'True', '1.2.3.4'],
];

test('what the plain reader takes, the full one reads the same', (t) => {
  const rng = seeded(t);
  const runs = Number(process.env['RUNS'] ?? 3000);
  let taken = 0;
  for (let run = 0; run < runs; run++) {
    let text = YAML;
    for (let count = rng.below(4); count >= 0; count--)
      text = mutateLines(rng, [text], YAML_SCRAPS);
    const value = plainYaml(text, 64, new Set(['__proto__', 'constructor', 'prototype']));
    if (value === undefined || text.includes('$')) continue;
    taken++;
    // A text with a variable, even in a comment, is for the full reader.
    const { source, diagnostics } = parseSource('a.yaml', `${text}\n# \${X:-}`, {});
    assert.deepEqual([source?.value, diagnostics], [value, []], JSON.stringify(text));
  }
  assert.ok(taken > runs / 20, `${taken} of ${runs}`);
});
