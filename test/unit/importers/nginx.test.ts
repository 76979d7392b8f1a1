import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { toYaml } from '../../../src/config/foreign.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { recognise } from '../../../src/importers/catalog.ts';
import { TABLE } from '../../../src/importers/nginx/directive-table.ts';
import { importNginx } from '../../../src/importers/nginx/import-nginx.ts';
import { isKnownAnywhere } from '../../../src/importers/nginx/known-directives.ts';
import { lex } from '../../../src/importers/nginx/lexer.ts';
import type { ImportIo } from '../../../src/importers/report.ts';

const FIXTURES = new URL('../../fixtures/nginx/', import.meta.url).pathname;

function files(all: Readonly<Record<string, string>>): ImportIo {
  const names = (path: string) => {
    const start = path === '/' ? '/' : `${path}/`;
    const inner = Object.keys(all).filter((one) => one.startsWith(start));
    return inner.length === 0
      ? undefined
      : inner.map((one) => one.slice(start.length).split('/')[0] ?? '');
  };
  return { readFile: (path) => all[path], listDirectory: names, env: {} };
}

function convert(text: string, more: Readonly<Record<string, string>> = {}) {
  return importNginx(text, '/etc/nginx/nginx.conf', files(more));
}

const http = (inner: string) => `events {}\nhttp {\n${inner}\n}\n`;
const server = (inner: string) => http(`server { listen 80; ${inner} }`);

/** The text of an entry of a list, with its reason. */
function told(list: readonly { directive: string; reason?: string; line: number }[]): string[] {
  return list.map(({ line, directive, reason }) => `${line}: ${directive}: ${reason ?? ''}`);
}

function loaded(text: string): void {
  const io = { ...files({ '/c.yaml': toYaml(convert(text).config) }), wallMs: () => 0 };
  const result = loadConfig(['/c.yaml'], { ...io, listDirectory: () => undefined });
  assert.ok(result.ok, JSON.stringify(result));
}

test('words are cut as nginx cuts them', () => {
  const words = (text: string) =>
    lex(text).tokens.map((one) => ('text' in one ? one.text : one.kind));
  assert.deepEqual(words('a "b c" \'d;\' e\\ f;'), ['a', 'b c', 'd;', 'e\\ f', ';']);
  assert.deepEqual(words('a ${b}c{d}#e\n}'), ['a', '${b}c', '{', 'd}#e', '}']);
  assert.deepEqual(words('~ ^\\w+\\.x$ "q\\"\\n";'), ['~', '^\\w+\\.x$', 'q"\n', ';']);
  assert.deepEqual(words('x_by_lua_block { a = {b} } y;'), [
    'x_by_lua_block',
    '{',
    ' a = {b} ',
    '}',
    'y',
    ';',
  ]);
  assert.equal(lex('a "b').error?.message, 'the quote " is not closed');
  assert.match(lex('"a"b;').error?.message ?? '', /cannot follow/);
  assert.deepEqual(lex('a\nb\n"c').error?.line, 3);
});

test('a file that nginx would not read is an error with its place', () => {
  for (const [text, line, reason] of [
    ['http {\n server {\n', 2, /not closed/],
    ['http {}\n}\n', 2, /no block/],
    ['user a\n', 1, /not ended/],
    ['a;\n{ b; }', 2, /where a name/],
  ] as const) {
    const [error] = convert(text).errors;
    assert.match(error?.reason ?? '', reason);
    assert.equal(error?.line, line, text);
  }
});

test('includes are read in order, with patterns, and named when they are not there', () => {
  const result = convert(
    http('include sites/*.conf; include none.conf; include mime.types; include no/*;'),
    {
      '/etc/nginx/sites/b.conf': 'server { listen 81; return 204; }',
      '/etc/nginx/sites/a.conf': 'server { listen 82; server_nam x; return 204; }',
      '/etc/nginx/sites/.c.conf': 'server { listen 83; return 204; }',
    },
  );
  assert.deepEqual(Object.keys(result.config.listeners ?? {}), ['http-82', 'http-81']);
  const [missing, typo] = result.report.unsupported;
  assert.match(missing?.reason ?? '', /cannot be read/);
  assert.equal(typo?.file, '/etc/nginx/sites/a.conf');
  assert.match(typo?.reason ?? '', /no directive of this name; did you mean "server_name"\?/);
  const endless = convert('include nginx.conf;', {
    '/etc/nginx/nginx.conf': 'include nginx.conf;',
  });
  assert.match(endless.errors[0]?.reason ?? '', /levels/);
});

test('a typo, what stands in a wrong place and what Sluice lacks are told apart', () => {
  const { unsupported } = convert(
    server(
      'gzip on; worker_processes 4; proxy_pas http://a; gzip off; echo_sleep 1; location / { proxy_pass http://a; }',
    ),
  ).report;
  assert.deepEqual(told(unsupported), [
    '3: gzip on: answers are not compressed',
    '3: worker_processes 4: it cannot stand here',
    '3: proxy_pas http://a: there is no directive of this name; did you mean "proxy_pass"?',
    '3: echo_sleep 1: Sluice has nothing of the kind',
  ]);
});

test('every directive of every fixture is in one of the lists, and the result loads', () => {
  for (const name of readdirSync(FIXTURES).filter((one) => one.endsWith('.conf'))) {
    const text = readFileSync(join(FIXTURES, name), 'utf8');
    const { report } = importNginx(text, join(FIXTURES, name), {
      readFile: () => undefined,
      env: {},
    });
    const seen = new Set(
      Object.values(report)
        .flat()
        .map(({ line }) => line),
    );
    for (const [index, line] of text.split('\n').entries()) {
      const directive =
        /^\s*[a-z_]+ .*;\s*$/.test(line) && !/^\s*(default|\S+\.example)\s/.test(line);
      if (directive) assert.ok(seen.has(index + 1), `${name}:${index + 1}: ${line}`);
    }
  }
});

test('what guards a location and cannot be translated closes it', () => {
  for (const guard of [
    'auth_request /check;',
    'satisfy any; allow 10.0.0.1; deny all;',
    'access_by_lua_block { return }',
  ]) {
    const { config, report } = convert(server(`location / { ${guard} proxy_pass http://a; }`));
    assert.deepEqual(
      config.listeners?.['http-80']?.routes?.map(({ respond }) => respond),
      [{ status: 501 }],
      guard,
    );
    assert.ok(report.unsupported.length > 0);
  }
  const secret = convert(
    server('auth_basic x; auth_basic_user_file p; location / { proxy_pass http://a; }'),
    {
      '/etc/nginx/p': 'ann:$apr1$x$y\n# no\nbob:{PLAIN}pw\n',
    },
  );
  const [route] = secret.config.listeners?.['http-80']?.routes ?? [];
  assert.deepEqual(route?.basicAuth, { realm: 'x', users: { bob: 'pw' } });
  assert.match(told(secret.report.unsupported).join(), /passwords of ann/);
});

test('ranges within ranges are told of, never opened', () => {
  const { config, report } = convert(
    server('location / { allow 10.0.0.5; deny 10.0.0.0/8; allow all; proxy_pass http://a; }'),
  );
  const [route] = config.listeners?.['http-80']?.routes ?? [];
  assert.deepEqual(route?.access, { deny: ['10.0.0.0/8'] });
  assert.match(told(report.approximated).join(), /keeps out as well/);
});

test('addresses: both families, one beside all, and none', () => {
  const listeners = (text: string) => convert(http(text)).config.listeners ?? {};
  const answer = 'return 204;';
  assert.deepEqual(
    Object.values(listeners(`server { listen 80; listen [::]:80; ${answer} }`))[0]?.bind,
    ':80',
  );
  const both = convert(
    http(`server { listen 80; ${answer} } server { listen 127.0.0.1:80; ${answer} }`),
  );
  assert.deepEqual(Object.keys(both.config.listeners ?? {}), ['http-80']);
  assert.match(told(both.report.unsupported).join(), /listened on already/);
  assert.deepEqual(Object.keys(listeners('server { listen nowhere:x; }')), []);
  assert.deepEqual(
    listeners(`server { listen unix:/run/x.sock; ${answer} }`)['http-unix']?.bind,
    'unix:/run/x.sock',
  );
});

test('a server that asks for certificates behind one that does not is closed', () => {
  const tls = 'ssl_certificate c; ssl_certificate_key k; location / { proxy_pass http://a; }';
  const { config } = convert(
    http(
      `server { listen 443 ssl; ${tls} } server { listen 443 ssl; server_name b.test; ssl_client_certificate ca; ssl_verify_client on; ${tls} }`,
    ),
  );
  const routes = config.listeners?.['https-443']?.routes ?? [];
  assert.deepEqual(routes[0]?.respond, { status: 501 });
  assert.deepEqual(routes[0]?.match, { host: 'b.test' });
});

test('lists of names that are no file of nginx are left to others', () => {
  assert.equal(recognise('/x/site.conf', 'server {\n listen 80;\n}'), 'nginx');
  assert.equal(recognise('/x/nginx.conf', '# x\nuser  www-data;\n'), 'nginx');
  assert.equal(recognise('/x/sluice.yaml', 'listeners: {}'), undefined);
});

test('every directive of the table is one that nginx knows', () => {
  const unknown = TABLE.flatMap(({ names }) => names.split(' ')).filter(
    (name) => !isKnownAnywhere(name) && name !== 'hostnames' && name !== 'volatile',
  );
  assert.deepEqual(unknown, []);
});

const LINES = [
  'location / { proxy_pass http://u; }',
  'location = /x { proxy_pass http://u/y$z; }',
  'location ~ (a|b { return 200 $x; }',
  'location ~* ^/(?<n>a)$ { rewrite ^/(.*)$ /$1 break; proxy_pass https://$h:1/$1; }',
  'location ^~ "/ü x" { deny 1; allow all; alias y; }',
  'listen 80 default_server ssl;',
  'listen [::1]:x;',
  'server_name ~^(a .b *.c d.* "";',
  'if ($http_a ~* "(x") { return 403; }',
  'if ($m = 1) { rewrite ^ /x permanent; }',
  'return 301 $scheme://$host$request_uri;',
  'client_max_body_size 99999999999g;',
  'proxy_read_timeout 1x;',
  'limit_req zone=a burst=x;',
  'error_page 404 = @x;',
  'set $h $h$h;',
  'add_header a "b\\nc";',
  'proxy_set_header "a b" c;',
  'proxy_next_upstream off timeout;',
];

test('no input makes it throw, and nothing is silently dropped', () => {
  const property = fc.property(
    fc.array(fc.constantFrom(...LINES), { maxLength: 8 }),
    fc.array(fc.constantFrom('"', '{', '}', ';', '\\', '$', '\n', 'a'), { maxLength: 2 }),
    (lines, noise) => {
      const text = `${http(
        `map $http_x $m { ~[ 1; default 0; } upstream u { server a:b; server c weight=0; } server { ${lines.join('\n')} }`,
      )}${noise.join('')}`;
      const { errors, report } = convert(text);
      const count = Object.values(report).flat().length;
      assert.ok(errors.length > 0 || count > 0 || lines.length === 0);
    },
  );
  fc.assert(property, { numRuns: 300 });
});

test('what is converted can be loaded', () => {
  loaded(server('location / { proxy_pass http://127.0.0.1:1; } location ~ x { return 403; }'));
  loaded('stream { server { listen 1; proxy_pass 127.0.0.1:2; } }');
});
