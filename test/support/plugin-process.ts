/**
 * A network and IPAM plugin as a third party would write one: a program that serves the protocol
 * on a unix socket, makes a bridge for each network and a veth pair for each endpoint, and hands
 * out addresses of pools of its own. Its state outlives it, in a file. Every call is noted in
 * another; a third one says in which calls it is to misbehave.
 *
 * Usage: plugin-process.ts SOCKET FOLDER KIND…
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { join } from 'node:path';

type Body = Record<string, unknown>;
type State = {
  /** Bridge by network, with the gateway that its members use. */
  networks: Record<string, { bridge: string; gateway: string; table: string }>;
  endpoints: Record<string, string>;
  /** Block by pool. */
  pools: Record<string, string>;
  addresses: Record<string, string[]>;
};

const [socket = '', folder = '', ...kinds] = process.argv.slice(2);
const files = {
  state: join(folder, 'state.json'),
  calls: join(folder, 'calls.jsonl'),
  faults: join(folder, 'faults.json'),
};
const state: State = existsSync(files.state)
  ? JSON.parse(readFileSync(files.state, 'utf8'))
  : { networks: {}, endpoints: {}, pools: {}, addresses: {} };
const faults = (): Record<string, string> =>
  existsSync(files.faults) ? JSON.parse(readFileSync(files.faults, 'utf8')) : {};

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const short = (id: string): string => id.slice(0, 8);

/** Blocks of /24 below 10.77.0.0/16, one after the other. */
function freePool(): string {
  const used = new Set(Object.values(state.pools));
  for (let third = 0; ; third++) {
    const block = `10.77.${third}.0/24`;
    if (!used.has(block)) return block;
  }
}

function requestAddress(pool: string, wanted: string): string {
  const block = state.pools[pool];
  if (block === undefined) throw new Error(`there is no pool ${pool}`);
  const [base = '', bits] = block.split('/');
  const used = state.addresses[pool] ?? [];
  const head = base.replace(/\d+$/, '');
  const numbers = Array.from({ length: 253 }, (_, index) => `${head}${index + 1}`);
  const address = wanted || numbers.find((one) => !used.includes(one));
  if (address === undefined) throw new Error('the pool is empty');
  if (used.includes(address)) throw new Error(`${address} is in use`);
  state.addresses[pool] = [...used, address];
  return `${address}/${bits}`;
}

function createNetwork({ NetworkID, IPv4Data, Options }: Body): Body {
  const id = text(NetworkID);
  const bridge = `tp-${short(id)}`;
  const [data] = Array.isArray(IPv4Data) ? IPv4Data : [];
  const gateway = text(data?.Gateway);
  const table = JSON.stringify(Options);
  ip('link', 'add', bridge, 'type', 'bridge');
  if (gateway !== '') ip('addr', 'add', gateway, 'dev', bridge);
  ip('link', 'set', bridge, 'up');
  state.networks[id] = { bridge, gateway: gateway.split('/')[0] ?? '', table };
  return {};
}

function createEndpoint({ NetworkID, EndpointID, Interface }: Body): Body {
  const endpoint = text(EndpointID);
  const network = state.networks[text(NetworkID)];
  if (!network) throw new Error(`there is no network ${NetworkID}`);
  const [outer, inner] = [`tpo${short(endpoint)}`, `tpi${short(endpoint)}`];
  ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', inner);
  ip('link', 'set', outer, 'master', network.bridge, 'up');
  state.endpoints[endpoint] = inner;
  const given = Object(Interface);
  const MacAddress = text(given.MacAddress) === '' ? `02:77:${pairs(endpoint)}` : '';
  return { Interface: { MacAddress } };
}

function pairs(id: string): string {
  return [0, 2, 4, 6].map((at) => id.slice(at, at + 2)).join(':');
}

function joinSandbox({ NetworkID, EndpointID, SandboxKey }: Body): Body {
  const network = state.networks[text(NetworkID)];
  const source = state.endpoints[text(EndpointID)];
  if (!network || source === undefined) throw new Error(`there is no endpoint ${EndpointID}`);
  if (!existsSync(text(SandboxKey))) throw new Error(`there is no sandbox ${SandboxKey}`);
  return {
    InterfaceName: { SrcName: source, DstPrefix: 'tp' },
    Gateway: network.gateway,
    StaticRoutes: [
      { Destination: '203.0.113.0/24', RouteType: 0, NextHop: network.gateway },
      { Destination: '198.18.0.0/15', RouteType: 1 },
    ],
    DisableGatewayService: true,
  };
}

const METHODS: Record<string, (body: Body) => Body> = {
  'Plugin.Activate': () => ({ Implements: kinds }),
  'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'local' }),
  'NetworkDriver.CreateNetwork': createNetwork,
  'NetworkDriver.DeleteNetwork': ({ NetworkID }) => {
    const network = state.networks[text(NetworkID)];
    if (!network) throw new Error(`there is no network ${NetworkID}`);
    ip('link', 'delete', network.bridge);
    delete state.networks[text(NetworkID)];
    return {};
  },
  'NetworkDriver.CreateEndpoint': createEndpoint,
  'NetworkDriver.EndpointOperInfo': () => ({ Value: {} }),
  'NetworkDriver.DeleteEndpoint': ({ EndpointID }) => {
    const endpoint = text(EndpointID);
    if (state.endpoints[endpoint] === undefined) throw new Error(`no endpoint ${endpoint}`);
    ip('link', 'delete', `tpi${short(endpoint)}`);
    delete state.endpoints[endpoint];
    return {};
  },
  'NetworkDriver.Join': joinSandbox,
  'NetworkDriver.Leave': () => ({}),
  'NetworkDriver.ProgramExternalConnectivity': () => ({}),
  'NetworkDriver.RevokeExternalConnectivity': () => ({}),
  'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: false }),
  'IpamDriver.GetDefaultAddressSpaces': () => ({
    LocalDefaultAddressSpace: 'tp-local',
    GlobalDefaultAddressSpace: 'tp-global',
  }),
  'IpamDriver.RequestPool': ({ AddressSpace, Pool, V6 }) => {
    if (AddressSpace !== 'tp-local') throw new Error(`unknown address space ${AddressSpace}`);
    if (V6 === true) throw new Error('IPv6 is not served');
    const block = text(Pool) || freePool();
    const id = `pool-${block}`;
    if (state.pools[id] !== undefined) throw new Error(`${block} is in use`);
    state.pools[id] = block;
    return { PoolID: id, Pool: block, Data: {} };
  },
  'IpamDriver.ReleasePool': ({ PoolID }) => {
    delete state.pools[text(PoolID)];
    return {};
  },
  'IpamDriver.RequestAddress': ({ PoolID, Address }) => ({
    Address: requestAddress(text(PoolID), text(Address)),
  }),
  'IpamDriver.ReleaseAddress': ({ PoolID, Address }) => {
    const pool = text(PoolID);
    const used = state.addresses[pool] ?? [];
    if (!used.includes(text(Address))) throw new Error(`${Address} is not in use`);
    state.addresses[pool] = used.filter((one) => one !== Address);
    return {};
  },
};

/** Returns whether the call was dealt with. */
function misbehave(method: string, response: ServerResponse): boolean {
  const fault = faults()[method];
  if (fault === undefined) return false;
  if (fault === 'hang') return true;
  if (fault === 'garbage') response.end('<html>no JSON</html>');
  else if (fault === 'huge') response.end(`{"x":"${'x'.repeat(2 * 1024 * 1024)}"}`);
  else if (fault === 'cut') response.socket?.destroy();
  else response.end(fault);
  return true;
}

function answer(method: string, body: Body): Body {
  const run = METHODS[method];
  const field = method.startsWith('IpamDriver') ? 'Error' : 'Err';
  if (!run) return { [field]: `unknown method ${method}` };
  try {
    const result = run(body);
    writeFileSync(`${files.state}.new`, JSON.stringify(state));
    renameSync(`${files.state}.new`, files.state);
    return result;
  } catch (error) {
    return { [field]: error instanceof Error ? error.message : String(error) };
  }
}

rmSync(socket, { force: true });
createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const method = (request.url ?? '').slice(1);
    const type = request.headers['content-type'] ?? '';
    const body: Body = JSON.parse(Buffer.concat(parts).toString() || '{}');
    appendFileSync(files.calls, `${JSON.stringify({ method, type, body })}\n`);
    response.setHeader('content-type', 'application/vnd.docker.plugins.v1.1+json');
    if (!misbehave(method, response)) response.end(JSON.stringify(answer(method, body)));
  });
}).listen(socket, () => process.stdout.write('ready\n'));
