import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { explain, type Question } from '../../../src/gateway/explain.ts';

const CONFIG = `listeners:
  web:
    bind: "0.0.0.0:80"
    protocol: http
    access: { deny: [192.0.2.0/24] }
    routes:
      - { name: inner, match: { path: /inner }, access: { allow: [10.0.0.0/8] }, service: app }
      - { name: slow, match: { path: /slow }, rateLimit: { requests: 5 }, respond: { status: 204 } }
  dns-tcp: { bind: "127.0.0.1:53", protocol: tcp, service: app }
  dns-udp: { bind: "127.0.0.1:53", protocol: udp, service: app }
  sock: { bind: "unix:/run/web.sock", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:1"] }
`;

const CASES: [Question, RegExp[]][] = [
  [
    { listen: '10.1.1.1:80', path: '/x' },
    [/listener web/, /route inner does not/, /slow does/, /404/],
  ],
  [{ listen: '[::1]:80' }, [/no listener takes/, /there is web: 0\.0\.0\.0:80/, /./, /./, /./]],
  [{ listen: ':80', path: '/inner' }, [/web/, /inner matches/, /access: 127\.0\.0\.1 .* 403/]],
  [{ listen: ':80', source: '192.0.2.9' }, [/web/, /access: 192\.0\.2\.9 is not let in/]],
  [
    { listen: ':80', path: '/slow' },
    [/web/, /inner does/, /slow matches/, /at most 5/, /answers 204/],
  ],
  [
    { listen: 'localhost:53', sni: 'a' },
    [/dns-tcp/, /no meaning/, /service app/, /503/, /dns-udp/, /no meaning/, /service app/, /503/],
  ],
  [{ listen: 'unix:/run/web.sock' }, [/listener sock/, /service app/, /503/]],
  [{ listen: 'nonsense' }, [/is not HOST:PORT/]],
];

test('the way of a request, step by step', () => {
  const loaded = loadConfig(['c.yaml'], { readFile: () => CONFIG, env: {} });
  assert.ok(loaded.ok);
  for (const [question, steps] of CASES) {
    const told = explain(loaded.config, [], question);
    assert.equal(told.length, steps.length, told.join('\n'));
    for (const [at, step] of steps.entries()) assert.match(told[at] ?? '', step);
  }
});
