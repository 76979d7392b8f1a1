import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findPlugin, isPluginName, listPlugins } from '../../../src/plugin/discovery.ts';
import { IpamDrivers } from '../../../src/plugin/ipam-driver.ts';
import { NetworkDrivers } from '../../../src/plugin/network-driver.ts';
import { PluginHost } from '../../../src/plugin/plugin-host.ts';

type Scope = { after(task: () => void): void };

function folder(t: Scope): string {
  const path = mkdtempSync(join(tmpdir(), 'sluice-plugin-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A server on a TCP port of loopback, found by `NAME.spec`. */
async function serve(t: Scope, path: string, name: string, run: RequestListener): Promise<void> {
  const server = createServer(run);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  // exempt(as): a server on a port has an address of this kind
  const { port } = server.address() as AddressInfo;
  writeFileSync(join(path, `${name}.spec`), `tcp://127.0.0.1:${port}\n`);
}

/** A plugin that answers each method with what `answers` holds. */
function plugin(answers: Readonly<Record<string, unknown>>, seen: string[] = []): RequestListener {
  return (request, response) => {
    const method = (request.url ?? '').slice(1);
    seen.push(method);
    request.resume();
    response.end(JSON.stringify(answers[method] ?? { Err: `no ${method}` }));
  };
}

const patience = { callTimeoutMs: 500, retryDelaysMs: [20, 40] };

test('a socket is found before a file, a file in the first folder before others', async (t) => {
  const [one, two] = [folder(t), folder(t)];
  writeFileSync(join(two, 'a.spec'), 'tcp://192.0.2.1:99');
  mkdirSync(join(one, 'b'));
  writeFileSync(
    join(one, 'b', 'b.json'),
    '{"Name":"b","Addr":"https://b.test","TLSConfig":{"CAFile":"/ca","InsecureSkipVerify":true}}',
  );
  const folders = [one, two, '/nonexistent'];
  assert.deepEqual(findPlugin(folders, 'a'), { kind: 'tcp', host: '192.0.2.1', port: 99 });
  assert.deepEqual(findPlugin(folders, 'b'), {
    ...{ kind: 'tls', host: 'b.test', port: 443, verify: false },
    ...{ ca: '/ca', cert: undefined, key: undefined },
  });
  const socket = createNetServer();
  await new Promise<void>((resolve) => socket.listen(join(two, 'b.sock'), resolve));
  t.after(() => void socket.close());
  assert.deepEqual(findPlugin(folders, 'b'), { kind: 'unix', path: join(two, 'b.sock') });
  assert.deepEqual(listPlugins(folders), ['a', 'b']);
  assert.equal(findPlugin(folders, 'c'), undefined);
});

test('names that are no file names, and files that name nothing, are told', (t) => {
  const path = folder(t);
  for (const name of ['', '../etc/passwd', 'a/b', '.hidden', 'a b', 'x'.repeat(129)]) {
    assert.equal(isPluginName(name), false, name);
    assert.equal(findPlugin([path], name), undefined);
  }
  for (const [file, text, message] of [
    ['a.spec', 'ftp://x', /a\.spec: "ftp:\/\/x" is no address; valid are unix:\/\/PATH/],
    ['b.spec', 'unix://relative', /is not an absolute path/],
    ['c.json', '{', /c\.json is not JSON/],
    ['d.json', '{"Name":"d"}', /d\.json has no text "Addr"/],
  ] as const) {
    writeFileSync(join(path, file), text);
    assert.throws(() => findPlugin([path], file.slice(0, 1)), { message });
  }
});

test('one handshake serves many calls; what it does not implement is refused', async (t) => {
  const path = folder(t);
  const seen: string[] = [];
  const answers = {
    'Plugin.Activate': { Implements: ['NetworkDriver'] },
    'NetworkDriver.GetCapabilities': { Scope: 'global' },
  };
  await serve(t, path, 'net', plugin(answers, seen));
  const host = new PluginHost({ folders: [path], patience });
  const drivers = new NetworkDrivers(host);
  assert.deepEqual(host.names('NetworkDriver'), []);
  const both = await Promise.all([drivers.capabilities('net'), drivers.capabilities('net')]);
  assert.deepEqual(both, [{ scope: 'global' }, { scope: 'global' }]);
  assert.equal(seen.filter((method) => method === 'Plugin.Activate').length, 1);
  assert.deepEqual(host.names('NetworkDriver'), ['net']);
  await assert.rejects(host.need('net', 'IpamDriver'), {
    message: 'plugin "net" does not implement IpamDriver: it implements NetworkDriver',
  });
  await assert.rejects(host.need('other', 'IpamDriver'), {
    code: 'E_OBJECT_NOT_FOUND',
    message: 'plugin "other" not found',
  });
  await assert.rejects(drivers.leave('net', 'n', 'e'), {
    code: 'E_PLUGIN_REFUSED',
    message: 'plugin "net": NetworkDriver.Leave: no NetworkDriver.Leave',
  });
});

test('a plugin that comes late is waited for; a call that it may have seen is sent once', async (t) => {
  const path = folder(t);
  const socket = join(path, 'late.sock');
  writeFileSync(join(path, 'late.spec'), `unix://${socket}`);
  const host = new PluginHost({
    folders: [path],
    patience: { callTimeoutMs: 300, retryDelaysMs: [50, 100, 200, 400] },
  });
  let calls = 0;
  const server = createServer((request, response) => {
    calls++;
    request.resume();
    if (request.url === '/Plugin.Activate') response.end('{"Implements":["IpamDriver"]}');
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  setTimeout(() => server.listen(socket), 120);
  await host.need('late', 'IpamDriver');
  assert.equal(calls, 1);
  await assert.rejects(host.call('late', 'IpamDriver', 'ReleasePool', {}), {
    code: 'E_PLUGIN_UNREACHABLE',
    message: 'plugin "late": IpamDriver.ReleasePool: no answer within 300 ms',
  });
  assert.equal(calls, 2);
  await host.need('late', 'IpamDriver');
  assert.equal(calls, 3, 'activated anew after its silence');
});

const GIVEN = { ipv4: '10.0.0.2/24', ipv6: undefined, mac: undefined };
const JOINED = { InterfaceName: { SrcName: 'v0', DstPrefix: 'eth' } };

/** Method, answer, what is said of it. */
const WRONG: readonly (readonly [string, unknown, RegExp])[] = [
  ['GetCapabilities', { Scope: 'moon' }, /Scope "moon" is not local, global or swarm/],
  ['CreateEndpoint', { Interface: 7 }, /Interface is not an object/],
  ['CreateEndpoint', { Interface: { Address: '10.0.0.3/24' } }, /may not be changed/],
  ['CreateEndpoint', { Interface: { MacAddress: 'x' } }, /MacAddress "x" is invalid/],
  ['CreateEndpoint', { Interface: { AddressIPv6: '10.0.0.1/24' } }, /AddressIPv6 .* is invalid/],
  ['Join', {}, /InterfaceName\.SrcName is absent/],
  ['Join', { InterfaceName: { SrcName: 'way-too-long-for-a-link' } }, /which is no link's name/],
  ['Join', { InterfaceName: { SrcName: 'v0', DstPrefix: '-x' } }, /DstPrefix "-x"/],
  ['Join', { ...JOINED, Gateway: 'fe80::1' }, /Gateway "fe80::1" is no IPv4 address/],
  ['Join', { ...JOINED, StaticRoutes: {} }, /StaticRoutes is not a list/],
  ['Join', { ...JOINED, StaticRoutes: [{ Destination: 'x' }] }, /static route x by nothing/],
  ['Join', { ...JOINED, StaticRoutes: Array(257).fill({}) }, /more than 256 StaticRoutes/],
];

for (const [method, answer, message] of WRONG) {
  test(`an answer to ${method} that cannot be used: ${JSON.stringify(answer).slice(0, 60)}`, async (t) => {
    const path = folder(t);
    const activate = { Implements: ['NetworkDriver'] };
    const answers = { 'Plugin.Activate': activate, [`NetworkDriver.${method}`]: answer };
    await serve(t, path, 'net', plugin(answers));
    const drivers = new NetworkDrivers(new PluginHost({ folders: [path], patience }));
    const calls: Record<string, () => Promise<unknown>> = {
      GetCapabilities: () => drivers.capabilities('net'),
      CreateEndpoint: () => drivers.createEndpoint('net', 'n', 'e', GIVEN, {}),
      Join: () => drivers.join('net', 'n', 'e', '/s', {}),
    };
    await assert.rejects(calls[method]?.() ?? Promise.resolve(), {
      code: 'E_PLUGIN_ANSWER',
      message,
    });
  });
}

test('pools and addresses are taken as blocks and addresses only', async (t) => {
  const path = folder(t);
  const answers: Record<string, unknown> = {
    'Plugin.Activate': { Implements: ['IpamDriver'] },
    'IpamDriver.GetDefaultAddressSpaces': { LocalDefaultAddressSpace: 'here' },
    'IpamDriver.RequestPool': {
      ...{ PoolID: 'p', Pool: '10.0.0.1/24' },
      Data: { 'com.docker.network.gateway': '10.0.0.1/24' },
    },
    'IpamDriver.RequestAddress': { Address: '10.0.0.2/24' },
  };
  await serve(t, path, 'ipam', plugin(answers));
  const drivers = new IpamDrivers(new PluginHost({ folders: [path], patience }));
  assert.equal(await drivers.localSpace('ipam'), 'here');
  assert.deepEqual(await drivers.capabilities('ipam'), { needsMac: false });
  const pool = { space: 'here', subnet: undefined, range: undefined, options: {} };
  assert.deepEqual(await drivers.requestPool('ipam', { ...pool, family: 4 }), {
    ...{ id: 'p', subnet: '10.0.0.0/24', gateway: '10.0.0.1/24' },
  });
  await assert.rejects(drivers.requestPool('ipam', { ...pool, family: 6 }), {
    message: /Pool "10\.0\.0\.1\/24" is no IPv6 block/,
  });
  const order = { pool: 'p', address: undefined, options: {}, mac: undefined };
  const endpoint = { ...order, purpose: 'endpoint' as const };
  assert.equal(await drivers.requestAddress('ipam', endpoint), '10.0.0.2/24');
  answers['IpamDriver.RequestAddress'] = { Address: '10.0.0.2' };
  await assert.rejects(drivers.requestAddress('ipam', endpoint), {
    code: 'E_PLUGIN_ANSWER',
    message: /Address "10\.0\.0\.2" is no address with prefix length/,
  });
  answers['IpamDriver.RequestAddress'] = {};
  assert.equal(await drivers.requestAddress('ipam', endpoint), undefined);
});
