import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { exchange } from '../support/attack.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { runLoad } from '../support/load.ts';

const CLI = new URL('../../src/main/sluice.ts', import.meta.url).pathname;
const GOOD = `listeners:
  web: { bind: "127.0.0.1:8080", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:9001"] }
`;

/** What `sluice check` says of a file, and how long it takes with its start. */
function check(t: TestContext, text: string | Buffer) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'sluice.yaml');
  writeFileSync(path, text);
  const from = performance.now();
  const ran = spawnSync(process.execPath, [CLI, 'check', '-c', path], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status: ran.status, said: ran.stdout + ran.stderr, tookMs: performance.now() - from };
}

const nested = (depth: number) => `a: ${'['.repeat(depth)}${']'.repeat(depth)}\n`;
const mapped = (depth: number) =>
  Array.from({ length: depth }, (_, at) => `${' '.repeat(at)}a:\n`).join('');
const many = `${GOOD}${Array.from({ length: 200_000 }, (_, at) => `  s${at}: { endpoints: ["127.0.0.1:${1 + (at % 65_000)}"] }\n`).join('')}`;

const HOSTILE: Readonly<Record<string, string>> = {
  '10,000 nested lists': nested(10_000),
  '3,000 nested maps': mapped(3000),
  'a million open brackets': '['.repeat(1_000_000),
  '10 MB of one word': 'a'.repeat(10_000_000),
  'aliases that multiply': `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
    .split('')
    .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[at]}`).join()}]\n`)
    .join('')}`,
  '__proto__ keys': `${GOOD}__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }\n`,
  'a number without end': GOOD.replace('app }', 'app, limits: { maxConnections: 1e999 } }'),
  NUL: GOOD.replace('app }', 'a\0pp }'),
  'a lone surrogate': GOOD.replace('service: app', 'service: "\\uD800"'),
};

test('hostile configuration is refused in words, in bounded time', (t) => {
  for (const [name, text] of Object.entries(HOSTILE)) {
    const { status, said, tookMs } = check(t, text);
    t.diagnostic(`${name}: ${ms(tookMs)}: ${said.slice(0, 100).replaceAll('\n', ' ')}`);
    assert.equal(status, 1, `${name}: ${said.slice(0, 300)}`);
    assert.match(said, /sluice\.yaml:\d+:\d+: /, name);
    assert.ok(said.length < 100_000, `${name}: ${said.length} characters`);
    assert.ok(tookMs < 20_000, `${name}: ${ms(tookMs)}`);
  }
});

test('a byte order mark and CRLF line ends are no fault', (t) => {
  const { status, said } = check(t, `\ufeff${GOOD.replaceAll('\n', '\r\n')}`);
  assert.equal(status, 0, said);
});

test('a file of more than 10 MB loads', (t) => {
  const { status, said, tookMs } = check(t, many);
  const what = `sluice check of ${(many.length / 1e6).toFixed(1)} MB, 200,001 services`;
  figure(t, { experiment: '3.1', what, measured: ms(tookMs), wanted: 'bounded' });
  assert.ok(status === 0 || /too|most|bytes/.test(said), said.slice(0, 500));
});

test('50,000 routes load fast and match fast', async (t) => {
  const [port = 0] = await freePorts(1);
  const routes = Array.from(
    { length: 50_000 },
    (_, at) =>
      `      - { match: { path: "/r${at}/*" }, respond: { status: 200, body: "${at}" } }\n`,
  ).join('');
  const config = (all: string) => `listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    routes:
${all}      - { match: { path: /one }, respond: { status: 200, body: one } }
services: {}
`;
  const gateway = await Gateway.start(config(''));
  t.after(() => gateway.stop());
  const load = { port, perSecond: 500, seconds: 4, connections: 20, check: false };
  const few = await runLoad(t, { ...load, path: '/one' });
  gateway.write(config(routes));
  const from = performance.now();
  const reloaded = await gateway.admin('/v1/reload', { method: 'POST' });
  const tookMs = performance.now() - from;
  assert.equal(reloaded.status, 200, reloaded.text);
  const ask = () => exchange(port, 'GET /r49999/x HTTP/1.0\r\n\r\n');
  await eventually(
    'the workers have taken them',
    async () => (await ask()).text.endsWith('49999'),
    20_000,
  );
  const inForceMs = performance.now() - from;
  const last = await runLoad(t, { ...load, path: '/one' });
  figure(t, {
    experiment: '3.1',
    what: 'reload with 50,000 routes',
    measured: `${ms(tookMs)}, in force after ${ms(inForceMs)}; p50 of the last route ${ms(last.percentile(50))}, with one route ${ms(few.percentile(50))}`,
    wanted: '< 2 s, matched as fast as one',
  });
  assert.deepEqual(last.failures(), []);
  assert.ok(inForceMs < 20_000, ms(inForceMs));
});
