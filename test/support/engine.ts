import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EngineServer } from '../../src/api/engine/engine-server.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { seededRng } from '../../src/base/rng.ts';
import type { DaemonOptions, HostFacts } from '../../src/control/daemon-options.ts';
import { Engine } from '../../src/control/engine.ts';
import { parseCidr } from '../../src/ipam/cidr.ts';
import { DEFAULT_SOURCES } from '../../src/ipam/subnet-choice.ts';
import { EmbeddedStore } from '../../src/store/embedded-store.ts';
import { TestNode } from './cluster.ts';
import { FakeAgent } from './fake-agent.ts';

const ipv6Source = { base: parseCidr('fd12:3456:789a::/48') ?? neverCidr(), bits: 64 };

function neverCidr(): never {
  throw new Error('the block is one');
}

export const TEST_OPTIONS: DaemonOptions = {
  defaultBridge: {
    enabled: true,
    link: undefined,
    external: false,
    addresses: [],
    ranges: [],
    gateways: [],
    ipv6: false,
    icc: true,
    masquerade: true,
    mtu: undefined,
  },
  subnetSources: [...DEFAULT_SOURCES, ipv6Source],
  dns: { servers: [], search: [], options: [] },
  bindAddress: undefined,
  hostGateways: [],
  rules: true,
  insecureRegistries: [],
  labels: [],
  shutdownTimeoutMs: 15_000,
};

const FACTS: HostFacts = {
  resolvConf: () => 'nameserver 192.0.2.53\nsearch example.test\n',
  hosts: () => '127.0.0.1\tlocalhost\n',
  hostname: () => 'machine',
  routes: () => [],
  dynamicPorts: () => [32_768, 60_999],
  sandboxPath: (id) => `/run/netns/${id}`,
  hasLink: (link) => link === 'eth0',
  linkAddresses: (link) => (link === 'eth0' ? [] : undefined),
};

type Scope = { after(task: () => void): void };

/** An engine over an agent without a kernel. */
export function startEngine(
  store = EmbeddedStore.open(':memory:'),
  agent = new FakeAgent(),
  options: Partial<DaemonOptions> = {},
  pluginFolder = '/nonexistent',
) {
  const engine = new Engine({
    store,
    agent,
    options: { ...TEST_OPTIONS, ...options },
    facts: FACTS,
    clock: systemClock,
    rng: seededRng(1),
    logger: silentLogger,
    plugins: { folders: [pluginFolder] },
  });
  agent.events = engine;
  return { engine, agent, store, ready: engine.start() };
}

/** An engine behind its API on a unix socket; `port`: where nodes reach it as a manager. */
export async function serveEngine(t: Scope, agent = new FakeAgent(), port = 0) {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-engine-'));
  const { engine, ready } = startEngine(EmbeddedStore.open(':memory:'), agent);
  await ready;
  const facts = () => ({
    version: '0.0.0',
    name: 'machine',
    id: 'test',
    kernel: '6',
    os: 'test',
    arch: 'amd64',
    cpus: 1,
    memoryBytes: 1,
    dataRoot: folder,
    debug: false,
  });
  const { member } = new TestNode(port);
  const server = new EngineServer(engine, member, facts, silentLogger);
  const path = join(folder, 'engine.sock');
  await new Promise<void>((resolve) => server.createServer(undefined).listen(path, resolve));
  t.after(() => {
    void member.close();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { engine, agent, member, path, call: caller(path) };
}

export type Reply = { status: number; body: unknown; headers: Record<string, unknown> };

/** Sends one request over a unix socket and reads the whole answer. */
export function caller(socketPath: string) {
  return (method: string, path: string, body?: unknown): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const call = request({ socketPath, method, path, headers }, (response) => {
        const parts: Buffer[] = [];
        response.on('data', (data: Buffer) => parts.push(data));
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          const json =
            response.headers['content-type']?.includes('application/json') && text !== '';
          resolve({
            status: response.statusCode ?? 0,
            body: json ? JSON.parse(text) : text,
            headers: response.headers,
          });
        });
        response.on('error', reject);
      });
      call.on('error', reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
}
