import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dnsperf, type Load, wrk } from '../lib/load.ts';
import { programOf } from '../lib/programs.ts';
import { cpuSeconds } from '../lib/usage.ts';
import {
  BACKEND,
  GATEWAY,
  PEER_PORT,
  PUBLISHED_PORT,
  type Site,
  type Started,
  start,
} from './site.ts';

const SECONDS = 4;
const TICKS_PER_SECOND = 100;

export type TrafficCandidate = 'sluice' | 'direct' | 'haproxy' | 'nginx';

/** One kind of traffic through the gateway. */
export type TrafficCase = {
  readonly name: string;
  readonly unit: 'request' | 'connection' | 'GB' | 'round trip';
  readonly candidates: readonly TrafficCandidate[];
  readonly transport: 'tcp' | 'udp';
  readonly load: (site: Site, to: { address: string; port: number }, s: number) => Promise<Load>;
};

/** One round. `perSecond` and the CPU are in the case's unit. */
export type TrafficMeasurement = { perSecond: number; cpuMicros: number; errors: number };

type Place = { address: string; port: number };

const web = ({ address, port }: Place, path: string) => `http://${address}:${port}/${path}`;

/** Every case; a GB is counted in place of requests where much is sent at a time. */
export const trafficCases: readonly TrafficCase[] = [
  {
    name: 'published tcp keep-alive 50',
    unit: 'request',
    transport: 'tcp',
    candidates: ['sluice', 'direct', 'haproxy'],
    load: (site, to, seconds) => wrk(web(to, ''), { connections: 50, seconds }, site.asClient),
  },
  {
    name: 'published tcp connections',
    unit: 'connection',
    transport: 'tcp',
    candidates: ['sluice', 'direct', 'haproxy'],
    load: (site, to, seconds) => {
      const headers = ['Connection: close'];
      return wrk(web(to, ''), { connections: 50, seconds, headers }, site.asClient);
    },
  },
  {
    name: 'published tcp throughput',
    unit: 'GB',
    transport: 'tcp',
    candidates: ['sluice', 'direct', 'haproxy'],
    load: async (site, to, seconds) => {
      const load = await wrk(web(to, 'bulk'), { connections: 4, seconds }, site.asClient);
      return { ...load, requests: load.bytes / 1e9 };
    },
  },
  {
    name: 'published udp round trips',
    unit: 'round trip',
    transport: 'udp',
    candidates: ['sluice', 'direct', 'nginx'],
    load: (site, to, seconds) =>
      dnsperf(to, { queries: site.queries, clients: 20, seconds }, site.asClient),
  },
];

const HAPROXY = `global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  timeout connect 5s
  timeout client 50s
  timeout server 50s
listen main
  bind ${GATEWAY}:${PEER_PORT}
  server s1 ${BACKEND}:80
`;

function nginxConfig(root: string): string {
  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; worker_processes 1; pid ${root}/peer.pid; error_log stderr crit; user root;
events { worker_connections 8192; }
stream { server { listen ${GATEWAY}:${PEER_PORT} udp; proxy_pass ${BACKEND}:53; } }
`;
}

async function startPeer(site: Site, candidate: TrafficCandidate): Promise<Started | undefined> {
  const { host } = site;
  if (candidate === 'haproxy') {
    const file = join(host.root, 'haproxy.cfg');
    writeFileSync(file, HAPROXY);
    const peer = start(host.host, '0', [programOf('haproxy'), '-f', file]);
    await site.untilListening(host.host, PEER_PORT);
    return peer;
  }
  if (candidate !== 'nginx') return undefined;
  const file = join(host.root, 'peer.conf');
  writeFileSync(file, nginxConfig(host.root));
  return start(host.host, '0', ['nginx', '-c', file]);
}

/** Ticks of CPU 0 since the start of the machine. */
function cpuTicks(): { processes: number; packets: number } {
  const line = /^cpu0 (.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(' ').map(Number);
  return { processes: user + nice + system, packets: irq + softirq };
}

/**
 * CPU seconds of the gateway during `work`: what CPU 0 spent on packets outside of any process,
 * and what it spent in processes as far as the gateway's own processes can have spent it, so that
 * whatever else runs on the machine is not counted.
 */
export async function gatewayCpu<T>(
  root: number | undefined,
  work: () => Promise<T>,
): Promise<[T, number]> {
  const ownSeconds = () => (root === undefined ? 0 : cpuSeconds(root));
  const own = ownSeconds();
  const before = cpuTicks();
  const result = await work();
  const after = cpuTicks();
  const processes = (after.processes - before.processes) / TICKS_PER_SECOND;
  const packets = (after.packets - before.packets) / TICKS_PER_SECOND;
  return [result, packets + Math.min(processes, ownSeconds() - own)];
}

/** A round: brings the gateway into the candidate's state, warms up and loads it. */
export async function measureTraffic(
  site: Site,
  scenario: TrafficCase,
  candidate: TrafficCandidate,
): Promise<TrafficMeasurement> {
  if (candidate === 'sluice') await site.publish();
  else await site.withdraw();
  const peer = await startPeer(site, candidate);
  try {
    const to = {
      sluice: { address: GATEWAY, port: PUBLISHED_PORT },
      direct: { address: BACKEND, port: scenario.transport === 'tcp' ? 80 : 53 },
      haproxy: { address: GATEWAY, port: PEER_PORT },
      nginx: { address: GATEWAY, port: PEER_PORT },
    }[candidate];
    await scenario.load(site, to, 1);
    const root = candidate === 'sluice' ? site.host.agentPid : peer?.pid;
    const [load, cpu] = await gatewayCpu(root, () => scenario.load(site, to, SECONDS));
    return {
      perSecond: load.requests / SECONDS,
      cpuMicros: (cpu / load.requests) * 1e6,
      errors: load.errors,
    };
  } finally {
    await peer?.stop();
  }
}
