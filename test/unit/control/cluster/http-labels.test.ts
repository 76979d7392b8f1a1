import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  hasHttpLabels,
  namedSecrets,
  readHttpLabels,
} from '../../../../src/control/cluster/http-labels.ts';
import { ingressPort } from '../../../support/assignment-objects.ts';

const LB = 'com.docker.lb.';
const MESH = 'com.docker.ucp.mesh.http';
const target = (port: number) => ({ port, sticky: undefined, tls: 'none' });
const lb = (labels: Record<string, string>) =>
  Object.fromEntries(Object.entries(labels).map(([key, value]) => [LB + key, value]));

function good(labels: Record<string, string>, ports = [ingressPort(8080, 80)]) {
  const { faults, ...rest } = readHttpLabels(labels, ports);
  assert.deepEqual(faults, []);
  return rest;
}

function faultsOf(labels: Record<string, string>, ports = [ingressPort(8080, 80)]): string {
  return readHttpLabels(labels, ports).faults.join('\n');
}

test('hosts and port make a rule for listeners with and without TLS', () => {
  const { rules, certificate, edge } = good(lb({ hosts: 'App.example, *.b.example', port: '81' }));
  const base = { path: '', strip: false, on: 'both', to: target(81) };
  assert.deepEqual(rules, [{ ...base, hosts: ['app.example', '*.b.example'] }]);
  assert.deepEqual([certificate, edge], [undefined, undefined]);
});

test('the port is that of the tasks, and known when only one is published', () => {
  const labels = lb({ hosts: 'a.example' });
  assert.deepEqual(good(labels).rules[0]?.to, target(80));
  const missing = /label com\.docker\.lb\.port is missing: the service publishes no TCP port/;
  assert.match(faultsOf(labels, []), missing);
  assert.match(faultsOf(labels, [ingressPort(1, 80), ingressPort(2, 81)]), /several TCP ports/);
  assert.match(faultsOf(labels, [ingressPort(53, 53, 'udp')]), /no TCP port/);
});

test('every label of Interlock is known', () => {
  const { rules, certificate, edge } = good(
    lb({
      ...{ hosts: 'a.example', port: '8443', network: 'front', context_root: '/app/' },
      ...{ context_root_rewrite: 'true', ssl_only: 'true', ssl_cert: 'c', ssl_key: 'k' },
      ...{ ssl_backend: 'true', ssl_backend_tls_verify: 'required', backend_mode: 'vip' },
      ...{ sticky_session_cookie: 'session', websocket_endpoints: '/ws', service_cluster: 'in' },
      redirects:
        'http://old.example,https://a.example;https://old.example/x,https://a.example/y?z=1',
    }),
  );
  const redirect = { strip: false, hosts: ['old.example'] };
  assert.deepEqual(rules, [
    { ...redirect, path: '', on: 'http', to: { redirect: 'https://a.example{uri}' } },
    { ...redirect, path: '/x', on: 'https', to: { redirect: 'https://a.example/y?z=1' } },
    {
      ...{ hosts: ['a.example'], path: '/app', strip: true, on: 'https-only' },
      to: { port: 8443, sticky: { cookie: 'session' }, tls: 'verified' },
    },
  ]);
  assert.deepEqual(certificate, { cert: 'c', key: 'k' });
  assert.equal(edge, 'in');
  assert.deepEqual(namedSecrets(lb({ ssl_cert: 'c', ssl_key: 'k' })), ['c', 'k']);
  assert.equal(good(lb({ hosts: 'a.example', ip_hash: 'true' })).rules[0]?.hosts.length, 1);
  const through = good(lb({ hosts: 'a.example', ssl_passthrough: 'true' })).rules;
  assert.equal(through[0]?.on, 'passthrough');
});

test('labels of the HTTP routing mesh, in both of their forms', () => {
  const base = { path: '', strip: false };
  const both = { ...base, on: 'both' };
  assert.deepEqual(good({ [MESH]: '8080=http://foo.example' }).rules, [
    { ...both, hosts: ['foo.example'], to: target(8080) },
  ]);
  assert.deepEqual(good({ [MESH]: 'http://foo.example,81=http://bar.example' }).rules, [
    { ...both, hosts: ['foo.example'], to: target(80) },
    { ...both, hosts: ['bar.example'], to: target(81) },
  ]);
  const { rules } = good({
    [`${MESH}.1`]: 'external_route=http://a.example,internal_port=82,sticky_sessions=sid',
    [`${MESH}.2`]: 'external_route=sni://b.example,internal_port=8443',
    [`${MESH}.3`]: 'external_route=http://c.example,redirect=https://a.example',
  });
  assert.deepEqual(rules, [
    { ...both, hosts: ['a.example'], to: { ...target(82), sticky: { cookie: 'sid' } } },
    { ...base, on: 'passthrough', hosts: ['b.example'], to: target(8443) },
    { ...base, on: 'http', hosts: ['c.example'], to: { redirect: 'https://a.example{uri}' } },
  ]);
});

test('a bad label is named with what would be valid', () => {
  const host = { hosts: 'a.example' };
  const cases: [Record<string, string>, RegExp][] = [
    [lb({ port: '80' }), /label com\.docker\.lb\.hosts is missing: it names the hosts, such as/],
    [lb({ hosts: 'a:80' }), /label com\.docker\.lb\.hosts: "a:80" is not a host name without port/],
    [lb({ ...host, port: '70000' }), /lb\.port: "70000" is not a port; valid are 1 to 65535/],
    [lb({ ...host, ssl_only: 'yes' }), /ssl_only: "yes" is not valid; valid are true and false/],
    [lb({ ...host, backend_mode: 'x' }), /backend_mode: "x" is not valid; valid are task and vip/],
    [lb({ ...host, context_root: 'app' }), /context_root: "app" is not a path such as \/app/],
    [lb({ ...host, redirects: 'http://a' }), /redirects: "http:\/\/a" is not a pair such as/],
    [lb({ ...host, redirects: 'http://a,ftp://b' }), /redirects: "ftp:\/\/b" is not an address/],
    [lb({ ...host, ssl_cert: 'c' }), /label com\.docker\.lb\.ssl_key is missing/],
    [lb({ ...host, sticky_session_cookie: 'a b' }), /"a b" is not the name of a cookie/],
    [
      lb({ ...host, hots: 'b' }),
      /label com\.docker\.lb\.hots is not known; valid are .*hosts, port/,
    ],
    [
      lb({ ...host, ssl_passthrough: 'true', context_root: '/a' }),
      /context_root has no use beside/,
    ],
    [{ [MESH]: 'https://a.example' }, /is not a route; valid are http:\/\/HOST and sni:\/\/HOST/],
    [
      { [MESH]: 'external_route=http://a,port=80' },
      /"port" is not known; valid are external_route=/,
    ],
    [
      { [`${MESH}.1`]: 'internal_port=80' },
      /label com\.docker\.ucp\.mesh\.http\.1: "" is not a route/,
    ],
    [{ [MESH]: 'external_route=sni://a,redirect=http://b' }, /redirect has no use beside sni:\/\//],
  ];
  for (const [labels, wanted] of cases) assert.match(faultsOf(labels), wanted);
});

test('other labels are of no concern', () => {
  assert.ok(!hasHttpLabels({ 'com.docker.stack.namespace': 'x', 'com.docker.ucp.mesh.https': '' }));
  assert.deepEqual(good({ tier: 'front' }).rules, []);
});

test('whatever labels hold, reading them ends, and a rule has nothing that is not valid', () => {
  const key = fc.constantFrom(
    ...['hosts', 'port', 'context_root', 'redirects', 'ssl_only', 'service_cluster', 'x'].map(
      (one) => LB + one,
    ),
    ...[MESH, `${MESH}.1`],
  );
  const word = fc.constantFrom(
    'http://a.b',
    'sni://',
    'a.b',
    '*',
    ',',
    ';',
    '=',
    '{uri}',
    '80',
    '/',
  );
  const value = fc.oneof(
    fc.string(),
    fc.array(word, { maxLength: 6 }).map((words) => words.join('')),
  );
  fc.assert(
    fc.property(fc.dictionary(key, value), (labels) => {
      const { rules, faults } = readHttpLabels(labels, []);
      for (const { hosts, to } of rules) {
        for (const one of hosts) assert.match(one, /^[^\s,/:?#]+$|^\[/);
        if ('redirect' in to) assert.match(to.redirect, /^https?:\/\/[^{]*(\{uri\})?$/);
        else assert.ok(to.port > 0 || faults.length > 0);
      }
    }),
    { numRuns: 2000 },
  );
});
