import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkConfig } from '../../../src/config/check.ts';
import { NO_ASSIGNMENT } from '../../../src/link/assignment.ts';
import { ClusterEdge, wantsCluster } from '../../../src/main/cluster-edge.ts';
import type {
  NodeAssignment,
  OverlayNetwork,
  ServiceBackends,
} from '../../../src/model/cluster.ts';
import {
  type GatewayConfig,
  type GatewayConfigInput,
  gatewayConfig,
} from '../../../src/model/gateway-config.ts';
import { makeCertificates, noCertificates } from '../../support/certs.ts';

const INGRESS: OverlayNetwork = {
  ...{ id: 'ing', name: 'ingress', mtu: 1450, encrypted: false, internal: false },
  ...{ attachable: false, ingress: true },
  segments: [{ vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
};
const HOST = {
  ...{ nodeId: 'n1', epoch: '', tunnel: { local: '192.0.2.1', port: 4789 } },
  sources: { ipv4: '192.0.2.1', ipv6: undefined },
  gatewayAddresses: new Map([['web-n1', ['172.18.0.5']]]),
};
const LB = 'com.docker.lb.';
let age = 0;

/** A service with a task on each of these nodes, younger than all before it. */
function service(
  name: string,
  labels: Readonly<Record<string, string>>,
  nodes: readonly string[] = [],
): ServiceBackends {
  const created = new Date(age++ * 1000).toISOString();
  return {
    ...{ serviceId: `id-${name}`, name, created, labels, resolution: 'vip', vips: {} },
    ...{ ports: [], aliases: {}, networkNames: {} },
    tasks: nodes.map((node, index) => ({
      ...{
        serviceId: `id-${name}`,
        taskId: `${name}-${node}`,
        name: `${name}.${index}`,
        nodeId: node,
        draining: false,
      },
      addresses: { ing: `10.0.0.${10 + index}/24` },
    })),
  };
}

function app(name: string, labels: Readonly<Record<string, string>>, ...nodes: string[]) {
  const own = Object.entries({ hosts: `${name}.example`, port: '80', ...labels });
  return service(name, Object.fromEntries(own.map(([key, value]) => [LB + key, value])), nodes);
}

function assignment(...services: ServiceBackends[]): NodeAssignment {
  return { ...NO_ASSIGNMENT, networks: [INGRESS], services };
}

function config(input: GatewayConfigInput): GatewayConfig {
  return gatewayConfig.parse(input);
}

const OPEN = config({
  listeners: {
    web: { bind: ':80', protocol: 'http', cluster: true, routes: [{ respond: { status: 200 } }] },
    sni: { bind: ':8443', protocol: 'tls-passthrough', cluster: true },
    inner: { bind: ':81', protocol: 'http', cluster: 'inner' },
    own: { bind: ':82', protocol: 'http', routes: [{ respond: { status: 200 } }] },
  },
});

async function shown(...services: ServiceBackends[]) {
  const edge = new ClusterEdge();
  await edge.show(assignment(...services), HOST);
  return { edge, extended: edge.extend(OPEN, edge.part) };
}

function told(edge: ClusterEdge): string[] {
  const lines: string[] = [];
  const note = (_: string, fields?: Record<string, unknown>) =>
    lines.push(String(fields?.['what']));
  const logger = { debug: note, info: note, warn: note, error: note, child: () => logger };
  edge.complain(logger);
  return lines;
}

test('labels become routes of the listeners that ask for them, after their own', async () => {
  const { extended } = await shown(
    app('web', {}),
    app('deep', { hosts: 'web.example', context_root: '/deep' }),
  );
  const { web, sni, inner, own } = extended.listeners;
  assert.deepEqual(
    web?.routes.map(({ match, service }) => [match?.host, match?.path, service]),
    [
      [undefined, undefined, undefined],
      [['web.example'], ['/deep/*'], 'cluster.deep.80'],
      [['web.example'], undefined, 'cluster.web.80'],
    ],
  );
  assert.deepEqual([sni?.routes, inner?.routes, own?.routes.length], [[], [], 1]);
  assert.deepEqual(extended.services['cluster.web.80']?.discover, {
    cluster: { service: 'web', port: 80 },
  });
  assert.ok(wantsCluster(OPEN));
  assert.ok(!wantsCluster(config({})));
});

test('redirects, TLS only, passthrough and service clusters go where they belong', async () => {
  const { extended } = await shown(
    app('safe', { ssl_only: 'true' }),
    app('new', { redirects: 'http://old.example,http://new.example' }),
    app('raw', { ssl_passthrough: 'true', port: '443' }),
    app('in', { service_cluster: 'inner', sticky_session_cookie: 'sid' }),
  );
  const routesOf = (name: string) =>
    Object.fromEntries(
      (extended.listeners[name]?.routes ?? []).flatMap(({ match, redirect, service }) => {
        const [host] = match?.host ?? match?.sni ?? [];
        return host === undefined ? [] : [[host, redirect?.to ?? service]];
      }),
    );
  assert.deepEqual(routesOf('web'), {
    'safe.example': 'https://{host}{uri}',
    'new.example': 'cluster.new.80',
    'old.example': 'http://new.example{uri}',
    'in.example': 'cluster.in.80',
  });
  assert.deepEqual(routesOf('sni'), { 'raw.example': 'cluster.raw.443' });
  assert.deepEqual(routesOf('inner'), { 'in.example': 'cluster.in.80' });
  assert.deepEqual(extended.services['cluster.in.80']?.sticky, { appCookie: { name: 'sid' } });
});

test('endpoints are tasks that serve, by the way that leads to them from here', async () => {
  const web = app('web', {}, 'n1', 'n2');
  const { edge } = await shown(web);
  const part = edge.part;
  assert.deepEqual(edge.backendsOf('web'), [
    { name: 'web.0', address: '172.18.0.5' },
    { name: 'web.1', address: '10.0.0.11' },
  ]);
  let changes = 0;
  const stop = edge.follow(() => changes++);
  const [first, second] = web.tasks;
  assert.ok(first && second);
  const leaving = { ...web, tasks: [first, { ...second, draining: true }] };
  await edge.show(assignment(leaving), HOST);
  assert.deepEqual(edge.backendsOf('web'), [{ name: 'web.0', address: '172.18.0.5' }]);
  assert.equal(edge.part, part, 'no reload for a task');
  assert.equal(changes, 1);
  stop();
  await edge.show(assignment(), HOST);
  assert.equal(edge.backendsOf('web'), undefined);
  assert.notEqual(edge.part, part);
  assert.equal(changes, 1);
});

test('of two services that claim a host and path the older one keeps it', async () => {
  const older = app('a-new', {});
  const younger = app('zed', { hosts: 'a-new.example,zed.example' });
  const { edge, extended } = await shown(younger, older);
  const hosts = extended.listeners['web']?.routes.map(({ match, service }) => [
    match?.host?.[0],
    service,
  ]);
  assert.deepEqual(hosts?.slice(1), [
    ['a-new.example', 'cluster.a-new.80'],
    ['zed.example', 'cluster.zed.80'],
  ]);
  assert.deepEqual(told(edge), [
    'listener web: service zed does not get a-new.example: service a-new had it before',
  ]);
  assert.deepEqual(told(edge), [], 'once');
});

test('a service of a file keeps its name, and bad labels leave only their own service out', async () => {
  const edge = new ClusterEdge();
  await edge.show(assignment(app('web', {}), app('bad', { port: 'x' })), HOST);
  const services = { 'cluster.web.80': { endpoints: ['127.0.0.1:1'] } };
  const written = config({
    ...{ services },
    listeners: { web: { bind: ':80', protocol: 'http', cluster: true } },
  });
  const extended = edge.extend(written, edge.part);
  assert.equal(extended.services['cluster.web.80']?.endpoints.length, 1);
  const lines = told(edge);
  assert.match(lines[0] ?? '', /^service bad: label com\.docker\.lb\.port: "x" is not a port/);
  assert.match(lines[1] ?? '', /^service cluster\.web\.80 of the cluster: a file has one/);
  assert.equal(extended.listeners['web']?.routes.length, 1);
});

test('names that are too long give way to the id', async () => {
  const name = 'a'.repeat(60);
  const { extended } = await shown({ ...app(name, { hosts: 'a.example' }), serviceId: 'id-x' });
  assert.deepEqual(Object.keys(extended.services), ['cluster.id-x.80']);
});

test('whatever labels services have, the configuration stays valid', async () => {
  const label = fc.constantFrom(
    ...['hosts', 'port', 'context_root', 'context_root_rewrite', 'redirects', 'ssl_only'].map(
      (key) => LB + key,
    ),
    ...[`${LB}ssl_passthrough`, `${LB}sticky_session_cookie`, `${LB}service_cluster`],
    ...['com.docker.ucp.mesh.http', 'com.docker.ucp.mesh.http.1'],
  );
  const value = fc.oneof(
    fc.constantFrom('a.example', '*.example', 'a.example,b.example', '80', '/a', '/a/b', 'true'),
    fc.constantFrom('http://a.example,http://b.example', '80=http://a.example', 'sni://a.example'),
    fc.constantFrom('external_route=http://a.example,internal_port=80', 'inner', 'sid', ''),
    fc.string(),
  );
  const labels = fc.dictionary(label, value);
  const io = { readFile: () => '', env: {} };
  await fc.assert(
    fc.asyncProperty(fc.array(labels, { maxLength: 6 }), async (all) => {
      const services = all.map((one, index) => service(`s${index}`, one));
      const { extended } = await shown(...services);
      const wrong: string[] = [];
      const report = (path: PropertyKey[], message: string) =>
        wrong.push(`${path.map(String).join('.')}: ${message}`);
      checkConfig(extended, io, report, new Set(Object.keys(extended.services)));
      assert.deepEqual(wrong, []);
      for (const name of Object.keys(extended.services)) assert.match(name, /^[\w.-]{1,63}$/);
    }),
    { numRuns: 500 },
  );
});

test('secrets become certificates of listeners with TLS, and are told in no configuration', {
  skip: noCertificates(),
}, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-edge-'));
  t.after(() => rmSync(dir, { recursive: true }));
  makeCertificates(dir);
  const text = (name: string) => readFileSync(join(dir, name), 'utf8');
  const [cert, key] = ['example.com.pem', 'example.com.key'].map(text);
  const [other] = ['wild.example.org.key'].map(text);
  const file = (name: string, data = '') => ({
    ...{ id: `id-${name}`, name, labels: {}, created: '', updated: '', kind: 'secret' as const },
    data: Buffer.from(data).toString('base64'),
  });
  const files = [file('c', cert), file('k', key), file('k2', other), file('unused', 'private')];
  const web = app('web', { ssl_cert: 'c', ssl_key: 'k' });
  const bad = app('bad', { ssl_cert: 'c', ssl_key: 'k2' });
  const edge = new ClusterEdge();
  await edge.show({ ...assignment(web, bad), files }, HOST);
  const tls = { certificates: [{ cert: '/own.pem', key: '/own.key' }] };
  const written = config({
    listeners: { web: { bind: ':443', protocol: 'https', cluster: true, tls } },
  });
  const extended = edge.extend(written, edge.part);
  assert.deepEqual(extended.listeners['web']?.tls?.certificates, [
    ...tls.certificates,
    { cert: 'secret:c', key: 'secret:k' },
  ]);
  assert.equal(edge.readFile('secret:c'), cert);
  assert.equal(edge.readFile('secret:unused'), undefined);
  assert.ok(!JSON.stringify(extended).includes('PRIVATE KEY'));
  assert.match(told(edge).join(), /service bad: no certificate: does not belong/);
  // A node that starts again has no secrets until a manager answers.
  await edge.show(assignment(web), HOST);
  assert.equal(edge.readFile('secret:k'), key);
  await edge.show(assignment(), HOST);
  assert.equal(edge.readFile('secret:k'), undefined);
});
