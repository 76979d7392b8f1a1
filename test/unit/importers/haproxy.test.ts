import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { toYaml } from '../../../src/config/foreign.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { recognise } from '../../../src/importers/catalog.ts';
import { importHaproxy } from '../../../src/importers/haproxy/import-haproxy.ts';
import { lexLine } from '../../../src/importers/haproxy/lexer.ts';

const FIXTURES = new URL('../../fixtures/haproxy/', import.meta.url).pathname;

const words = (line: string, env: Record<string, string> = {}) =>
  lexLine(line, (name) => env[name]).words.map(({ text }) => text);

const io = (files: Record<string, string> = {}) => ({
  readFile: (path: string) => files[path],
  env: {},
});

const DEFAULTS = 'defaults\n mode http\n';

function imported(text: string, files: Record<string, string> = {}) {
  return importHaproxy(text, 'haproxy.cfg', io(files));
}

/** The routes of the only listener. */
function routes(rules: string, files: Record<string, string> = {}) {
  const backends = 'backend a\n server a 127.0.0.1:1\nbackend b\n server b 127.0.0.1:2\n';
  const text = `${DEFAULTS}frontend f\n bind :80\n${rules}\n default_backend a\n${backends}`;
  const { config, report, errors } = imported(text, files);
  assert.deepEqual(errors, []);
  const { routes = [], service } = config.listeners?.['f'] ?? {};
  return { routes, service, report };
}

test('words are cut at blanks, but for quotes and escapes; variables stand in weak quotes', () => {
  assert.deepEqual(words('  acl  a\tb # c'), ['acl', 'a', 'b']);
  assert.deepEqual(words('a "b c" \'d "e\' f\\ g h\\#i'), ['a', 'b c', 'd "e', 'f g', 'h#i']);
  assert.deepEqual(words('"$A" $A \'$A\' "${A}x" "\\$A" "${B-d}"', { A: '1' }), [
    ...['1', '$A', '$A', '1x', '$A', 'd'],
  ]);
  assert.deepEqual(words('"${A[*]}" ""', { A: 'x y' }), ['x', 'y', '']);
  assert.deepEqual(words('\\x41\\n "a\\\\b" ^/(a|b)\\.c'), ['A\n', 'a\\b', '^/(a|b)\\.c']);
  assert.match(lexLine('a "b', () => undefined).error ?? '', /not closed/);
});

test('.if and its like choose lines; what only a build can answer is left out', () => {
  const choose = (lines: string) => imported(`${DEFAULTS}${lines}\n`);
  const ports = (lines: string) => Object.keys(choose(lines).config.listeners ?? {});
  const listen = (name: string) => `listen ${name}\n bind :80\n server s 127.0.0.1:1`;
  const [a, b, c] = ['a', 'b', 'c'].map(listen);
  assert.deepEqual(ports(`.if 0\n${a}\n.elif 1\n${b}\n.else\n${c}\n.endif`), ['b']);
  assert.deepEqual(ports(`.if 0\n.if 1\n${a}\n.else\n${b}\n.endif\n.else\n${c}\n.endif`), ['c']);
  assert.deepEqual(ports(`global\n setenv X 1\n.if defined(X)\n${a}\n.endif`), ['a']);
  const reasons = (lines: string) => choose(lines).errors.map(({ reason }) => reason);
  assert.deepEqual(reasons('.else'), ['there is no .if before it']);
  assert.deepEqual(reasons('.if 1'), ['an .endif is missing']);
  assert.match(reasons('.if lua()\n.endif')[0] ?? '', /"lua\(\)" cannot be asked/);
  const { errors, report } = choose(`.if feature(LUA)\n${a}\n.endif`);
  assert.deepEqual(errors, []);
  assert.match(report.unsupported[0]?.reason ?? '', /own build: the condition is taken as false/);
  assert.deepEqual(reasons('.alert "not here"\n.if 0\n.alert no\n.endif'), ['not here']);
});

test('a first rule that ends a request is the first route; others make two cases', () => {
  const { routes: list } = routes(
    [
      ' acl api path_beg /api',
      ' http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 } !{ method HEAD }',
      ' http-request set-header X-Api yes if api',
      ' use_backend b if { hdr(host) -i B.test } or { path_end .png }',
    ].join('\n'),
  );
  const api = { headers: { request: { set: { 'x-api': 'yes' } } } };
  const denied = { source: '10.0.0.0/8' };
  assert.deepEqual(list, [
    {
      match: { path: '/admin*', not: [denied, { method: 'HEAD' }] },
      respond: { status: 403, body: '403 Forbidden\n' },
    },
    { match: { host: 'b.test', path: '/api*' }, ...api, service: 'b' },
    { match: { path: { regex: '^/api.*(?:\\.png$)' } }, ...api, service: 'b' },
    { match: { path: '/api*' }, ...api, service: 'a' },
    { match: { host: 'b.test' }, service: 'b' },
    { match: { path: { regex: '\\.png$' } }, service: 'b' },
  ]);
});

test('what a route cannot ask is left out and told, with its line', () => {
  const { routes: list, service, report } = routes(' use_backend b if { avg_queue(b) gt 1 }');
  assert.deepEqual([list, service], [[], 'a']);
  assert.deepEqual(report.unsupported, [
    {
      directive: 'use_backend b if { avg_queue(b) gt 1 }',
      file: 'haproxy.cfg',
      line: 5,
      reason: 'routes cannot ask for "avg_queue"',
    },
  ]);
});

test('errors are those of the file itself, with its lines', () => {
  const faults = (text: string) =>
    imported(text).errors.map(({ line, reason }) => `${line}: ${reason}`);
  assert.deepEqual(faults('frontend f\n bnd :80'), ['2: is no keyword of a proxy']);
  assert.deepEqual(faults('mode http'), ['1: stands before the first section']);
  assert.deepEqual(faults('listen f\n bind :80\n server a 1.2.3.4:5 chekc'), [
    '3: "chekc" is no option of a server',
  ]);
  assert.deepEqual(faults('frontend f\n bind :80\n default_backend x'), [
    '3: there is no backend "x"',
  ]);
  assert.deepEqual(
    faults('defaults\n timeout client 5x\nlisten f\n bind :80\n server a 1.2.3.4:5'),
    ['2: a time is needed, such as 5s'],
  );
});

test('every fixture reads as the same by way of YAML', () => {
  for (const name of readdirSync(FIXTURES).filter((one) => one.endsWith('.cfg'))) {
    const path = FIXTURES + name;
    const files = (one: string) => {
      if (one.endsWith('site.pem')) return undefined;
      try {
        return readFileSync(one, 'utf8');
      } catch {
        return undefined;
      }
    };
    const outside = { readFile: files, env: { CERTS: '/certs' } };
    const { config, errors } = importHaproxy(readFileSync(path, 'utf8'), path, outside);
    assert.deepEqual(errors, [], name);
    const unsafe = (one: string) => (one === `${path}.yaml` ? toYaml(config) : files(one));
    const loaded = loadConfig([`${path}.yaml`], { ...outside, readFile: unsafe });
    const direct = loadConfig([path], outside);
    const wrong = [loaded, direct].flatMap((one) =>
      one.ok ? [] : one.diagnostics.filter(({ message }) => !message.includes('cannot be read')),
    );
    assert.deepEqual(wrong, [], name);
    if (loaded.ok && direct.ok) assert.deepEqual(loaded.config, direct.config, name);
  }
});

test('files are recognised by what they say first, then by their name', () => {
  assert.equal(recognise('x', '# a\n\nglobal\n daemon'), 'haproxy');
  assert.equal(recognise('x', 'frontend web'), 'haproxy');
  assert.equal(recognise('haproxy.cfg', '.if defined(X)'), 'haproxy');
  assert.equal(recognise('x', 'listeners:\n'), undefined);
  assert.equal(recognise('x.yaml', 'global'), undefined);
});

test('no text makes it throw', () => {
  const seeds = readdirSync(FIXTURES).filter((one) => one.endsWith('.cfg'));
  const texts = seeds.map((one) => readFileSync(FIXTURES + one, 'utf8'));
  const lines = texts.flatMap((text) => text.split('\n'));
  const line = fc.oneof(fc.constantFrom(...lines), fc.string());
  const change = fc.record({
    at: fc.nat(),
    line,
    within: fc.nat(),
    put: fc.string({ maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.constantFrom(...texts), fc.array(change, { maxLength: 8 }), (text, changes) => {
      const changed = text.split('\n');
      for (const { at, line, within, put } of changes) {
        const place = within % (line.length + 1);
        const torn = line.slice(0, place) + put + line.slice(place + 1);
        changed.splice(at % changed.length, at % 2, torn);
      }
      imported(changed.join('\n'));
    }),
    { numRuns: 300 },
  );
});

test('who may come in: those refused, those let in, and what cannot be told', () => {
  const admitted = (...rules: string[]) => {
    const lines = rules.map((rule) => ` tcp-request ${rule}\n`).join('');
    const text = `frontend f\n bind :80\n${lines} default_backend a\nbackend a\n server a 127.0.0.1:1\n`;
    const { config, report } = imported(text);
    const { access, protocol } = config.listeners?.['f'] ?? {};
    return { access, protocol, left: report.unsupported.length };
  };
  const tcp = { protocol: 'tcp', left: 0 };
  assert.deepEqual(
    [
      admitted('connection reject if { src 10.0.0.1 } or { src 10.0.0.2 }'),
      admitted('connection reject if !{ src 10.0.0.0/8 } !{ src 192.0.2.1 }'),
      admitted('connection accept if { src 10.0.0.0/8 }', 'connection reject'),
      admitted('connection reject if { src 10.0.0.1 }', 'connection accept', 'connection reject'),
      admitted('connection reject'),
      admitted('content accept if { req_ssl_hello_type 1 }', 'content reject'),
      admitted('content accept if HTTP', 'content reject'),
      admitted('content accept if { req.ssl_hello_type 1 }'),
    ],
    [
      { access: { deny: ['10.0.0.1', '10.0.0.2'] }, ...tcp },
      { access: { allow: ['10.0.0.0/8', '192.0.2.1'] }, ...tcp },
      { access: { allow: ['10.0.0.0/8'] }, ...tcp },
      { access: { deny: ['10.0.0.1'] }, ...tcp },
      { access: { deny: ['0.0.0.0/0', '::/0'] }, ...tcp },
      { access: undefined, protocol: 'tls-passthrough', left: 0 },
      { access: undefined, ...tcp },
      { access: undefined, ...tcp },
    ],
  );
  const vague = admitted('content accept if { req.payload(0,4) -m bin 00 }', 'content reject');
  assert.deepEqual(vague, { access: undefined, protocol: 'tcp', left: 2 });
  const mixed = admitted(
    'connection accept if { src 10.0.0.1 }',
    'connection reject if { src 10.0.0.0/8 }',
  );
  assert.deepEqual([mixed.access, mixed.left], [undefined, 1]);
});

test('a port for TLS and for something else is told as what it cannot be', () => {
  const text = `frontend f\n bind :443\n use_backend a if { req.ssl_hello_type 1 }\n default_backend b
backend a\n server a 127.0.0.1:1\nbackend b\n server b 127.0.0.1:2\n`;
  const { config, report } = imported(text);
  assert.equal(config.listeners?.['f']?.service, 'b');
  assert.deepEqual(
    report.unsupported.map(({ line }) => line),
    [3],
  );
});

test('sections of pages, the exporter, the runtime API, names of servers', () => {
  const { config, report, errors } = imported(
    `global\n stats socket /run/h.sock mode 600 level admin\n${DEFAULTS}http-errors e\n errorfile 404 404.http
frontend f\n bind :80\n errorfiles e\n http-request use-service prometheus-exporter if { path /metrics }
 default_backend b\nbackend b\n server one [2001:db8::1]:80 weight 5\n server two two.test:81 backup\n`,
    { '404.http': 'HTTP/1.1 404 No\r\nContent-Type: text/plain\r\n\r\ngone' },
  );
  assert.deepEqual(errors, []);
  assert.deepEqual(config.admin, {
    runtime: { bind: { unix: '/run/h.sock', mode: '600' }, level: 'admin' },
  });
  assert.deepEqual(config.metrics, { compat: 'haproxy' });
  assert.deepEqual(config.listeners?.['f']?.errorPages, {
    '404': { body: 'gone', contentType: 'text/plain' },
  });
  assert.deepEqual(config.services?.['b']?.endpoints, [
    { address: '[2001:db8::1]:80', name: 'one', weight: 5 },
    { address: 'two.test:81', name: 'two', backup: true },
  ]);
  assert.deepEqual(
    report.approximated.map(({ reason }) => reason),
    ['served at /metrics of `admin.bind`, 127.0.0.1:9900'],
  );
});

test('the page of statistics: its path, its users, and who may change anything', () => {
  const page = (...lines: string[]) =>
    routes(lines.map((one) => ` stats ${one}`).join('\n')).routes;
  const at = (path: string, rest: object) => ({ match: { path: { regex: path } }, ...rest });
  assert.deepEqual(page('uri /haproxy?stats'), [at('^/haproxy(;|$)', { stats: {} })]);
  const basicAuth = { realm: 'HAProxy Statistics', users: { a: 'b:c' } };
  const path = { path: { regex: '^/s(;|$)' } };
  assert.deepEqual(page('uri /s', 'auth a:b:c', 'refresh 5', 'admin if LOCALHOST'), [
    {
      match: { source: ['127.0.0.0/8', '::1/128'], ...path },
      basicAuth,
      stats: { refresh: '5s', admin: true },
    },
    { match: path, basicAuth, stats: { refresh: '5s' } },
  ]);
  assert.deepEqual(page('uri /s', 'admin if TRUE'), [at('^/s(;|$)', { stats: {} })]);
});

test('binds: every IPv4 address, both families, ranges and sockets', () => {
  const binds = (text: string) => {
    const { config, errors } = imported(`listen f\n bind ${text}\n server a 127.0.0.1:1\n`);
    return errors[0]?.reason ?? config.listeners?.['f']?.bind;
  };
  assert.deepEqual(
    [
      '*:80',
      ':80',
      ':::80 v4v6',
      '[::]:80 v6only',
      '127.0.0.1:80-82,[::1]:80',
      '/run/a.sock',
      'host:80',
    ].map(binds),
    [
      ...['0.0.0.0:80', '0.0.0.0:80', ':80', '[::]:80', ['127.0.0.1:80-82', '[::1]:80']],
      ...['unix:/run/a.sock', '"host" is a name; an address is needed'],
    ],
  );
});
