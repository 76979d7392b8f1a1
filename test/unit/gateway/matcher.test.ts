import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Matcher, type RouteInfo } from '../../../src/gateway/http/matcher.ts';
import { splitService } from '../../../src/gateway/http/split.ts';
import { L4Routes } from '../../../src/gateway/l4/l4-routes.ts';
import { listener } from '../../../src/model/listener.ts';
import { type Route, route } from '../../../src/model/route.ts';

const HOSTS = [
  ...['a.test', 'b.a.test', '*.a.test', '*.test', '*.b.a.test', 'test', '[::1]'],
  { regex: '^[ab]\\.' },
];
const PATHS = [
  '/',
  '/*',
  '/a',
  '/a/',
  '/a*',
  '/a/*',
  '/a/b*',
  '//*',
  '/a/b',
  '/a/b/*',
  '//',
  '/a//*',
];
const ASKED_HOSTS = ['a.test', 'b.a.test', 'c.b.a.test', 'test', '', '.test', '[::1]:80', 'x'];
const ASKED_PATHS = ['/', '/a', '/a/', '/a/b', '/a/b/c', '//', '//a', '/a//', '/ab', '*'];

function request(over: Partial<RouteInfo>): RouteInfo {
  const plain = { method: 'GET', authority: 'a.test', path: '/', query: undefined };
  return { ...plain, headers: [], source: '127.0.0.1', sni: undefined, live: () => 1, ...over };
}

function some<T>(items: T[]): fc.Arbitrary<T[] | undefined> {
  return fc.option(fc.uniqueArray(fc.constantFrom(...items), { minLength: 1, maxLength: 2 }), {
    nil: undefined,
  });
}

const anyMatch = fc.record(
  {
    host: some<string | { regex: string }>(HOSTS),
    path: some<string | { regex: string }>([...PATHS, { regex: 'b$' }]),
    method: some(['GET', 'PUT']),
    sni: some(['a.test', '*.test']),
  },
  { requiredKeys: [] },
);

const anyRequest = fc.record({
  method: fc.constantFrom('GET', 'PUT'),
  authority: fc.constantFrom(...ASKED_HOSTS),
  path: fc.constantFrom(...ASKED_PATHS),
  sni: fc.constantFrom('a.test', 'b.test', undefined),
});

function routes(matches: readonly object[]): Route[] {
  return matches.map((match) => route.parse({ match, service: 's' }));
}

test('takes the route that trying all from top to bottom would take', () => {
  const property = fc.property(
    fc.array(anyMatch, { maxLength: 12 }),
    fc.array(anyRequest, { minLength: 1, maxLength: 20 }),
    (matches, requests) => {
      const matcher = new Matcher(routes(matches));
      for (const one of requests) {
        const info = request(one);
        const last = matcher.explain(info).at(-1);
        const wanted = last?.failed.length === 0 ? last.route : undefined;
        assert.equal(matcher.match(info)?.name, wanted);
      }
    },
  );
  fc.assert(property, { numRuns: 500 });
});

test('a start of a path ends anywhere; a host may be told by an expression', () => {
  const matcher = new Matcher(
    routes([
      { path: '/shop/ca*' },
      { path: '/s*', host: { regex: '^w[0-9]+\\.test$' } },
      { path: '*'.padStart(2, '/'), host: 'a.test' },
    ]),
  );
  const taken = (path: string, authority: string) =>
    matcher.match(request({ path, authority }))?.name;
  assert.equal(taken('/shop/cart/x', 'b.test'), '0');
  assert.equal(taken('/shop/ca', 'b.test'), '0');
  assert.equal(taken('/shop/c', 'b.test'), undefined);
  assert.equal(taken('/shop/c', 'w12.test:80'), '1');
  assert.equal(taken('/shop/c', 'a.test'), '2');
});

test('asks few of many routes', () => {
  let asked = 0;
  const watched = { regex: 'x' };
  const matches = Array.from({ length: 20_000 }, (_, index) => ({
    host: [`h${index % 100}.test`],
    path: [`/p${index}/*`],
    header: { 'x-a': watched },
  }));
  const matcher = new Matcher(routes(matches));
  const headers = new Proxy(['x-a', 'x'], {
    get: (target, key) => {
      if (key === 'length') asked++;
      return Reflect.get(target, key);
    },
  });
  const info = request({ authority: 'h99.test', path: '/p19999/x', headers });
  assert.equal(matcher.match(info)?.name, '19999');
  assert.ok(asked <= 2, `${asked} routes were asked`);
});

test('matches cookies, and what must not hold', () => {
  const matcher = new Matcher(
    routes([
      { cookie: { beta: '1' }, not: { path: '/a/*', method: 'GET' } },
      { query: { q: { present: true } } },
      { not: [{ path: '/a/*' }, { method: 'PUT' }] },
    ]),
  );
  const taken = (over: Partial<RouteInfo>) => matcher.match(request(over))?.name;
  const headers = ['cookie', 'x=y; beta=1'];
  assert.equal(taken({ headers }), '0');
  assert.equal(taken({ headers, path: '/a/b' }), undefined);
  assert.equal(taken({ headers, path: '/a/b', method: 'PUT' }), '0');
  assert.equal(taken({ query: 'q' }), '1');
  assert.equal(taken({ path: '/b' }), '2');
  assert.equal(taken({ path: '/b', method: 'PUT' }), undefined);
});

test('any field of a name may match; a host may end with a dot', () => {
  const matcher = new Matcher(
    routes([
      { header: { 'x-a': 'b' } },
      { header: { 'x-a': { regex: '^c$' } } },
      { host: '*.a.test', query: { q: 'y' } },
      { header: { 'x-a': { present: false } } },
    ]),
  );
  const taken = (over: Partial<RouteInfo>) => matcher.match(request(over))?.name;
  assert.equal(taken({ headers: ['X-A', 'a', 'x-a', 'b'] }), '0');
  assert.equal(taken({ headers: ['x-a', 'a', 'x-a', 'c'] }), '1');
  assert.equal(taken({ headers: ['x-a', 'd'], authority: 'w.a.test.:80', query: 'q=x&q=y' }), '2');
  assert.equal(taken({ headers: ['x-a', 'd'] }), undefined);
  assert.equal(taken({}), '3');
});

test('a split keeps its weights, keys and what a smaller share had', () => {
  const counts = new Map<string | undefined, number>();
  for (let turn = 0; turn < 10_000; turn++) {
    const to = splitService(
      { services: { web: 90, none: 0, canary: 10 }, by: 'source' },
      `${turn}`,
    );
    counts.set(to, (counts.get(to) ?? 0) + 1);
  }
  assert.equal(counts.get('none'), undefined);
  assert.ok(Math.abs((counts.get('canary') ?? 0) - 1000) < 120, `${counts.get('canary')}`);
  for (let turn = 0; turn < 1000; turn++) {
    const before = splitService({ services: { web: 90, canary: 10 } }, `${turn}`);
    const after = splitService({ services: { web: 50, canary: 50 } }, `${turn}`);
    assert.ok(before === 'web' || after === 'canary');
  }
  assert.ok(['a', 'b'].includes(splitService({ services: { a: 1, b: 1 } }, undefined) ?? ''));
});

test('a route can ask how many endpoints of a service are live', () => {
  const conditions = route.array().parse([
    { match: { live: { web: { atLeast: 3 } } }, service: 'web' },
    { match: { live: { web: { atLeast: 1, below: 2 } }, path: '/x' }, service: 'web' },
    { match: { not: { live: { web: { below: 1 } } } }, service: 'web' },
  ]);
  const matcher = new Matcher(conditions);
  const taken = (count: number, path = '/x') =>
    matcher.match(request({ path, live: () => count }))?.name;
  assert.deepEqual(
    [4, 3, 2, 1, 0].map((count) => taken(count)),
    ['0', '0', '2', '1', undefined],
  );
  assert.equal(taken(1, '/y'), '2');
});

test('connections: by source from top to bottom, split, and denied', () => {
  const made = (over: object) =>
    listener.parse({ bind: ':80', protocol: 'tcp', service: 'rest', ...over });
  const config = made({
    routes: [
      { match: { source: '10.0.0.0/8' }, service: 'inner', access: { deny: ['10.9.0.0/16'] } },
      { match: { source: '192.0.2.0/24' }, split: { services: { a: 1, b: 1 }, by: 'source' } },
    ],
  });
  const l4 = new L4Routes();
  const to = (source: string) => l4.target(config, source, undefined, () => 1);
  assert.deepEqual(to('10.1.1.1'), { service: 'inner', route: '0' });
  assert.equal(to('10.9.1.1'), 'access');
  assert.deepEqual(to('203.0.113.1'), { service: 'rest', route: undefined });
  const parts = new Set<string | undefined>();
  for (let host = 1; host < 50; host++) {
    const target = to(`192.0.2.${host}`);
    assert.deepEqual(to(`192.0.2.${host}`), target);
    if (target !== 'access') parts.add(target.service);
  }
  assert.deepEqual([...parts].sort(), ['a', 'b']);
});
