import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { linearRegex } from '../../../src/base/regex.ts';
import { formatDiagnostics, loadConfig } from '../../../src/config/load.ts';
import { planChange } from '../../../src/config/plan.ts';
import { redact } from '../../../src/config/resolve.ts';
import { parseSource } from '../../../src/config/source-text.ts';

const GOOD = `listeners:
  web: { bind: 127.0.0.1:8080, protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:9001"] }
`;

function load(text: string, env: Record<string, string> = {}) {
  const readFile = (path: string) => (path === 'sluice.yaml' ? text : undefined);
  return loadConfig(['sluice.yaml'], { readFile, env });
}

function errors(text: string, env: Record<string, string> = {}): string {
  const result = load(text, env);
  return result.ok ? 'ok' : formatDiagnostics(result.diagnostics);
}

const WRONG: readonly [string, string, RegExp][] = [
  [
    'an unknown key',
    GOOD.replace('service: app', 'servce: app'),
    /^sluice\.yaml:2:\d+: listeners\.web\.servce: unknown key "servce"; did you mean "service"\?/m,
  ],
  [
    'a dangling service',
    GOOD.replace('service: app', 'service: ap'),
    /2:\d+: listeners\.web\.service: there is no service "ap"; did you mean "app"\?/,
  ],
  [
    'a port of 65536',
    GOOD.replace('8080', '65536'),
    /2:\d+: listeners\.web\.bind: "127\.0\.0\.1:65536" is not an address/,
  ],
  [
    'a bad duration',
    `${GOOD}defaults: { timeouts: { connect: 5 secs } }`,
    /"5 secs" is not a duration/,
  ],
  [
    'a bad block',
    GOOD.replace('service: app', 'service: app, access: { deny: [10.0.0.0/33] }'),
    /"10\.0\.0\.0\/33" is not an address or a CIDR block/,
  ],
  ['a bind that is taken', `${GOOD}admin: { bind: ":8080" }`, /taken by admin/],
  [
    'a missing certificate',
    GOOD.replace('http,', 'https, tls: { certificates: [{ cert: a.pem, key: a.key }] },'),
    /a\.pem cannot be read/,
  ],
  [
    'a name of two endpoints',
    GOOD.replace(/endpoints: \[.*?\]/, (list) =>
      list.replace(/\[.*\]/, '[{ name: a, address: "h:1" }, { name: a, address: "h:2" }]'),
    ),
    /services\.app\.endpoints\.1: the name a is given twice/,
  ],
  [
    'an unset variable',
    GOOD.replace('127.0.0.1:9001', '${HOST_X}:80'),
    /4:\d+: the environment has no HOST_X/,
  ],
  [
    'a back reference',
    GOOD.replace(
      'service: app }',
      'routes: [{ match: { path: { regex: "(a+)\\\\1$" } }, service: app }] }',
    ),
    /match\.path\.0: .*invalid escape sequence.*; valid is RE2 syntax/,
  ],
  ['a key twice', `${GOOD}listeners: {}`, /unique/i],
  ['a forbidden name', `${GOOD}__proto__: { a: 1 }`, /"__proto__" is not a name/],
  ['admin for all without a token', `${GOOD}admin: { bind: "0.0.0.0:9900" }`, /is not local/],
  ['admin on a descriptor without a token', `${GOOD}admin: { bind: "fd:admin" }`, /is not local/],
  [
    'DNS without a port',
    GOOD.replace('endpoints: ["127.0.0.1:9001"]', 'discover: { dns: { name: a.test } }'),
    /type A needs `port`/,
  ],
  [
    'HTTP/2 to endpoints',
    GOOD.replace('app: {', 'app: { protocol: h2,'),
    /h2 needs `tls`; HTTP\/2 without TLS is h2c/,
  ],
  [
    'a health check with a look-ahead',
    GOOD.replace('app: {', 'app: { health: { type: http, expect: { body: { regex: "(?=a)" } } },'),
    /health\.expect\.body: .*; valid is RE2 syntax/,
  ],
  [
    'a host with a port',
    GOOD.replace('service: app', 'routes: [{ match: { host: "a.test:80" }, service: app }]'),
    /match\.host.*must be a host name without port/,
  ],
  [
    'a star within a path',
    GOOD.replace('service: app', 'routes: [{ match: { path: "/a*b" }, service: app }]'),
    /match\.path.*or a prefix such as "\/api\/\*"/,
  ],
  [
    'expressions of a host and of a redirect that are none',
    GOOD.replace(
      'service: app',
      'routes: [{ match: { host: { regex: "(" } }, redirect: { regex: "(?=a)", to: / } }]',
    ),
    /match\.host\.0: .*RE2 syntax[\s\S]*redirect\.regex: .*RE2 syntax/,
  ],
  [
    'a split over a service that is not there',
    GOOD.replace('service: app', 'routes: [{ split: { services: { app: 1, ap: 1 } } }]'),
    /2:\d+: listeners\.web\.routes\.0\.split\.services\.ap: there is no service "ap"; did you/,
  ],
  [
    'two routes of one name',
    GOOD.replace('service: app', 'routes: [{ name: a, service: app }, { name: a, service: app }]'),
    /a route before this one is named "a"/,
  ],
  [
    'a password hash of another kind',
    GOOD.replace(
      'service: app }',
      'routes: [{ service: app, basicAuth: { users: { u: "$2y$10$abc" } } }] }',
    ),
    /2:\d+: .*users\.u: is a hash of a kind that is not known(?!.*abc)/,
  ],
  ['no text at all', '\0', /NUL/],
];

for (const [what, text, expected] of WRONG) {
  test(`${what} is an error with its place`, () => assert.match(errors(text), expected));
}

test('a regex that would take for ever elsewhere is matched at once', () => {
  const text = `${'a'.repeat(8000)}!`;
  for (const regex of ['(a+)+$', '^(a|a)*$', '(a|aa)+$', '(.*)(.*)(.*)(.*)x', 'a*a*a*b']) {
    assert.equal(linearRegex(regex).test(text), false, regex);
  }
});

test('a regex replaces its first match', () => {
  const regex = linearRegex('/(?P<user>[a-z]+)/(\\d+)');
  assert.equal(regex.replace('/x/1/y/2', '/$2/$<user>$$$&$7'), '/1/x$/x/1$7/y/2');
});

test('all errors come at once', () => {
  const text = GOOD.replace('protocol: http', 'protocol: htp').replace('endpoints', 'endpoint');
  assert.equal(errors(text).split('\n').length >= 2, true, errors(text));
});

test('variables, defaults and escapes', () => {
  const text = GOOD.replace('127.0.0.1:9001', '${HOST:-127.0.0.2}:${PORT}');
  const result = load(text, { PORT: '81' });
  assert.ok(result.ok);
  assert.deepEqual(result.config.services['app']?.endpoints[0]?.address, {
    host: '127.0.0.2',
    port: 81,
  });
});

test('CRLF and a byte order mark are fine', () => {
  assert.equal(errors(`\uFEFF${GOOD.replaceAll('\n', '\r\n')}`), 'ok');
});

test('secrets are resolved for the daemon and hidden from people', () => {
  const result = load(`${GOOD}admin: { token: { env: ADMIN_TOKEN } }\n`, { ADMIN_TOKEN: 'hush' });
  assert.ok(result.ok);
  assert.equal(result.config.admin?.token, 'hush');
  assert.ok(!JSON.stringify(redact(result.config)).includes('hush'));
});

test('an admin token that is not there is an error, and a wrong one is not shown', () => {
  assert.match(errors(`${GOOD}admin: { token: { env: NONE } }`), /environment has no NONE/);
  const shown = errors(`${GOOD}admin: { token: 271828 }`);
  assert.match(shown, /admin\.token/);
  assert.ok(!shown.includes('271828'));
});

test('http settings need an HTTP listener', () => {
  const text = GOOD.replace('protocol: http', 'protocol: tcp, http: { underscoreHeaders: allow }');
  assert.match(errors(text), /listeners\.web\.http: has no use with protocol tcp/);
});

test('more errors than anyone reads are counted', () => {
  const keys = Array.from({ length: 20_000 }, (_, n) => `k${n}: 1`).join('\n');
  const lines = errors(`${GOOD}${keys}`).split('\n');
  assert.equal(lines.length, 1001);
  assert.match(lines.at(-1) ?? '', /and 19000 more errors/);
});

test('a plan tells what would change', () => {
  const [before, after] = [load(GOOD), load(GOOD.replace('9001', '9002'))];
  assert.ok(before.ok && after.ok);
  assert.deepEqual(planChange(before.config, after.config), [
    '~ service app: connections stay',
    '    endpoints.0.address.port: 9001 → 9002',
  ]);
});

test('50,000 routes load and 10,000 levels are refused', () => {
  const routes = Array.from(
    { length: 50_000 },
    (_, n) => `      - { match: { host: h${n}.test }, service: app }`,
  );
  const text = GOOD.replace('service: app }', `routes: *r }`).replace('listeners:', `listeners:`);
  const large = `listeners:\n  web:\n    bind: 127.0.0.1:8080\n    protocol: http\n    routes:\n${routes.join('\n')}\nservices:\n  app: { endpoints: ["127.0.0.1:9001"] }\n`;
  assert.equal(errors(large), 'ok');
  assert.match(errors('['.repeat(10_000)), /nested deeper than 64 levels/);
  assert.match(errors(`a: ${'['.repeat(100)}${']'.repeat(100)}`), /nested deeper than 64 levels/);
  assert.match(errors(text), /alias/i);
});

test('a variable is what its place takes, text or number', () => {
  const text = GOOD.replace(
    'protocol: http',
    'protocol: http, limits: { maxConnections: "${MAX}" }',
  )
    .replace('service: app', 'service: app, http: { serverHeader: "${NAME}" }, accessLog: "${LOG}"')
    .replace('listeners:', 'workers: ${WORKERS:-3}\nlisteners:');
  const result = load(text, { MAX: '7', NAME: '42', LOG: 'false' });
  assert.ok(result.ok, errors(text, { MAX: '7', NAME: '42', LOG: 'false' }));
  const web = result.config.listeners['web'];
  assert.deepEqual(
    [result.config.workers, web?.limits.maxConnections, web?.http.serverHeader, web?.accessLog],
    [3, 7, '42', false],
  );
  assert.match(
    errors(GOOD.replace('app }', 'app, accessLog: ${LOG} }')),
    /^sluice\.yaml:2:\d+: .*needs quotes$/m,
  );
  assert.match(
    errors(text, { MAX: 'many', NAME: 'x', LOG: 'true' }),
    /3:\d+: .*maxConnections: must be number, found "many"/,
  );
});

test('what is sound is checked beside what is not', () => {
  const text = `${GOOD.replace('service: app', 'servce: app')}  other: { endpoints: [] }
`.replace('services:', '  two: { bind: ":8081", protocol: tcp, service: othr }\nservices:');
  const all = errors(text);
  assert.match(all, /unknown key "servce"/);
  assert.match(all, /two\.service: there is no service "othr"; did you mean "other"\?/);
  assert.match(all, /services\.other: needs `endpoints` or `discover`/);
});

const FILES: Record<string, string> = {
  '/etc/sluice/a.yaml': GOOD,
  '/etc/sluice/b/b.yml': 'services: { two: { discover: { file: { path: ends.json } } } }',
  '/etc/sluice/b/notes.txt': 'not read',
};

function directoryIo(files: Record<string, string>) {
  return {
    readFile: (path: string) => files[path],
    listDirectory: (path: string) =>
      path === '/etc/sluice/b' ? ['b.yml', 'notes.txt', 'empty'] : undefined,
    env: {},
  };
}

test('a directory and files add up, and each names files beside itself', () => {
  const result = loadConfig(['/etc/sluice/a.yaml', '/etc/sluice/b'], directoryIo(FILES));
  assert.ok(result.ok, result.ok ? '' : formatDiagnostics(result.diagnostics));
  const discover = result.config.services['two']?.discover;
  assert.deepEqual(discover, { file: { path: '/etc/sluice/b/ends.json' } });
  const twice = { ...FILES, '/etc/sluice/b/b.yml': GOOD };
  const clash = loadConfig(['/etc/sluice/a.yaml', '/etc/sluice/b'], directoryIo(twice));
  assert.ok(!clash.ok);
  assert.match(
    formatDiagnostics(clash.diagnostics),
    /b\.yml:2:3: listeners\.web: is given in an earlier file too/,
  );
});

test('no secret is shown, by the configuration or a plan', () => {
  const config = (secret: string) => {
    const result = load(`${GOOD.replace(
      'service: app',
      `routes: [{ service: app, basicAuth: { users: { u: ${secret} } },
         headers: { request: { set: { authorization: "Bearer ${secret}", x-a: b } } } }]`,
    ).replace('app: {', `app: { health: { type: http, headers: { x-api-key: ${secret} } },`)}
admin: { token: ${secret} }`);
    assert.ok(result.ok);
    return result.config;
  };
  const shown = JSON.stringify(redact(config('hunter2')));
  assert.doesNotMatch(shown, /hunter2/);
  assert.match(shown, /"authorization":"\[redacted\]","x-a":"b"/);
  const plan = planChange(config('hunter2'), config('hunter3')).join('\n');
  assert.doesNotMatch(plan, /hunter/);
  assert.match(plan, /~ admin\n {4}token: another secret/);
  assert.match(
    plan,
    /~ listener web: connections stay\n {4}routes\.0\.basicAuth\.users\.u: another/,
  );
  assert.match(plan, /~ service app: connections stay\n {4}health\.headers\.x-api-key: another/);
  const wrong = errors(
    GOOD.replace(
      'service: app',
      'routes: [{ service: app, headers: { request: { set: { authorization: "hunter2\\n" } } } }]',
    ),
  );
  assert.match(wrong, /headers\.request\.set\.authorization: is not valid/);
  assert.doesNotMatch(wrong, /hunter/);
  // A running daemon tells its configuration without secrets.
  assert.deepEqual(planChange(redact(config('hunter2')), config('hunter2')), []);
});

test('JSON has the value that it has as YAML, with the same places', () => {
  const property = fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
    const json = JSON.stringify(value);
    // A comment makes it YAML.
    const quick = parseSource('a.json', json, {});
    const slow = parseSource('a.yaml', `${json} # x`, {});
    assert.deepEqual(quick.source?.value, slow.source?.value);
    assert.deepEqual(
      quick.diagnostics.map(({ message }) => message),
      slow.diagnostics.map(({ message }) => message),
    );
    const [path] = Object.keys(value);
    if (path !== undefined && quick.source) {
      assert.deepEqual(quick.source.locate([path]), slow.source?.locate([path]));
    }
  });
  fc.assert(property, { numRuns: 300 });
  for (const [text, expected] of [
    ['{ "$schema": "x", "listeners": { "web": { "bnd": ":80" } } }', /1:\d+: .*unknown key "bnd"/],
    ['{ "listeners": {}, "listeners": {} }', /keys must be unique/],
    ['{ "__proto__": {} }', /"__proto__" is not a name/],
    ['{ "workers": "${NONE}" }', /the environment has no NONE/],
  ] as const) {
    assert.match(errors(text), expected);
  }
});

test('passwords and the key of cookies come from the environment; unset ones are errors', () => {
  const text = `${GOOD.replace(
    'service: app',
    'routes: [{ service: app, basicAuth: { users: { u: { env: PASSWORD } } } }]',
  )}cookieKey: { env: KEY }\n`;
  const env = { PASSWORD: 'hunter2', KEY: '0123456789abcdef' };
  const result = load(text, env);
  assert.ok(result.ok, errors(text, env));
  const users = result.config.listeners['web']?.routes[0]?.basicAuth?.users;
  assert.deepEqual([users, result.config.cookieKey], [{ u: 'hunter2' }, env.KEY]);
  assert.doesNotMatch(JSON.stringify(redact(result.config)), /hunter2|0123456789/);
  const unset = errors(text);
  assert.match(unset, /2:\d+: .*users\.u: the environment has no PASSWORD/);
  assert.match(unset, /cookieKey: the environment has no KEY/);
  assert.match(errors(text, { ...env, KEY: 'short' }), /cookieKey: must be at least 16 characters/);
});
