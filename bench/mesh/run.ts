import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DirectForward } from '../../src/model/cluster-intent.ts';
import { EMPTY_INTENT, forward, run, until } from '../../test/support/netns.ts';
import {
  clusterIntent,
  gatewayBridge,
  member,
  overlayNetwork,
  TestCluster,
} from '../../test/support/netns-cluster.ts';
import { type Started, start } from '../kernel/site.ts';
import { gatewayCpu } from '../kernel/traffic.ts';
import { wrk } from '../lib/load.ts';
import { median } from '../lib/median.ts';
import { programOf } from '../lib/programs.ts';

const SECONDS = 3;
const ROUNDS = Number(process.argv[2] ?? 3);
const TASK = '172.18.0.12';
const MESH_ADDRESS = '10.0.0.12';
const PORT = 8080;
const CANDIDATES = ['direct', 'mesh', 'mesh-dsr', 'haproxy'] as const;
type Candidate = (typeof CANDIDATES)[number];

const none = overlayNetwork('none', []);
const joined = member('task', none, [], 12);
const task = {
  ...joined,
  attachments: joined.attachments.slice(1).map((one) => ({ ...one, link: 'eth0' })),
};
const node = (host: number) => ({
  ...{ id: `node${host}`, mac: `02:00:00:00:00:0${host}`, tunnel: `192.0.2.1${host}` },
  addresses: [`192.0.2.1${host}`],
});

const TARGETS: Readonly<Record<Candidate, string>> = {
  direct: `http://${TASK}/`,
  mesh: `http://192.0.2.11:${PORT}/`,
  'mesh-dsr': `http://192.0.2.11:${PORT}/`,
  haproxy: 'http://192.0.2.11:8081/',
};

const TABLES = ['inet mesh', 'netdev mesh', 'netdev direct'];

/**
 * Host 1 takes the connections, host 2 has the task; without the mesh neither has any rules. With direct
 * server return answers do not come by host 1.
 */
async function serve(cluster: TestCluster, candidate: Candidate): Promise<void> {
  const mesh = candidate.startsWith('mesh');
  for (const [index, host] of cluster.hosts.entries()) {
    if (!mesh) {
      if (!host.agentRuns) continue;
      await host.killAgent();
      const there = host.onHost('nft', 'list', 'tables');
      for (const [family = '', end] of TABLES.map((table) => table.split(' '))) {
        const name = `${host.prefix}-${end}`;
        if (!there.includes(`${family} ${name}`)) continue;
        host.onHost('nft', 'delete', 'table', family, name);
      }
      host.onHost('nft', 'delete', 'table', 'inet', host.prefix);
      continue;
    }
    if (!host.agentRuns) await host.startAgent();
    const local = index === 1;
    const intent = { networks: [gatewayBridge()], sandboxes: local ? [task] : [] };
    await host.agent.sync({ ...EMPTY_INTENT, ...intent });
    const report = await host.agent.join(
      clusterIntent(index + 1, {
        mesh: {
          ...{ vni: 4097, mtu: 1450, mac: node(index + 1).mac, draining: [], lost: [] },
          sources: { ipv4: `192.0.2.1${index + 1}`, ipv6: undefined },
          nodes: [node(local ? 1 : 2)],
          remote: local ? [] : [{ address: MESH_ADDRESS, node: 'node2' }],
          local: local ? [{ address: MESH_ADDRESS, target: TASK }] : [],
          direct: candidate === 'mesh-dsr' ? [directTo(local)] : [],
          forwards: [forward(PORT, [`${local ? TASK : MESH_ADDRESS}:80`])],
        },
      }),
    );
    if (report.failures.length > 0) throw new Error(JSON.stringify(report.failures));
  }
}

const directTo = (local: boolean): DirectForward => ({
  ...{ transport: 'tcp', port: PORT, balance: 'round-robin' },
  hosts: local ? [] : ['node2'],
  targets: local ? [{ address: TASK, port: 80 }] : [],
});

function servers(cluster: TestCluster): Started[] {
  const { root } = cluster.host(1);
  const nginx = join(root, 'nginx.conf');
  writeFileSync(
    nginx,
    `daemon off; worker_processes 1; pid ${root}/nginx.pid; error_log stderr crit; user root;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 1000000000;
  server { listen 80 backlog=8192; location / { return 200 "Hello, World\\n"; } } }
`,
  );
  const haproxy = join(root, 'haproxy.cfg');
  writeFileSync(
    haproxy,
    `global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen l
  bind :8081
  server task ${TASK}:80
`,
  );
  return [
    start(cluster.host(2).netns(task.id), '1', ['nginx', '-c', nginx]),
    start(cluster.host(1).host, '0', [programOf('haproxy'), '-f', haproxy]),
  ];
}

/** What hosts do with packets is done on CPU 0; client and task have CPU 1. */
function steer(namespace: string, mask: string): void {
  // `ip netns exec` shows the files of the namespace's own links.
  const script = `for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo ${mask} > $f; done`;
  run('ip', 'netns', 'exec', namespace, 'sh', '-c', script);
}

/** One round; the CPU is what both hosts and the router took for a request. */
type Measurement = { readonly perSecond: number; readonly cpuMicros: number };

/** Connections kept, and one for each request. */
async function measure(
  cluster: TestCluster,
  candidate: Candidate,
  kept: boolean,
  peer: number,
): Promise<Measurement> {
  await serve(cluster, candidate);
  for (const { host } of cluster.hosts) steer(host, '1');
  steer(cluster.router, '1');
  for (const namespace of [cluster.client, cluster.host(2).netns(task.id)]) steer(namespace, '2');
  const load = {
    ...{ connections: 32, seconds: SECONDS },
    headers: kept ? [] : ['Connection: close'],
  };
  const within = ['nsenter', `--net=/run/netns/${cluster.client}`];
  const root = candidate === 'haproxy' ? peer : undefined;
  const [{ requests, errors }, cpu] = await gatewayCpu(root, () =>
    wrk(TARGETS[candidate], load, within),
  );
  if (errors > 0 && kept) throw new Error(`${candidate}: ${errors} errors`);
  return { perSecond: requests / SECONDS, cpuMicros: (cpu / requests) * 1e6 };
}

const cluster = await TestCluster.start(2);
const started: Started[] = [];
try {
  await serve(cluster, 'mesh');
  run('ip', '-n', cluster.router, 'route', 'add', `${TASK}/32`, 'via', '192.0.2.12');
  cluster.host(1).ip(cluster.host(1).host, 'route', 'add', `${TASK}/32`, 'via', '192.0.2.12');
  for (const namespace of [cluster.client, cluster.host(1).host]) {
    const settings = ['net.ipv4.ip_local_port_range=1024 65000', 'net.ipv4.tcp_tw_reuse=1'];
    run('nsenter', `--net=/run/netns/${namespace}`, 'sysctl', '-qw', ...settings);
  }
  started.push(...servers(cluster));
  const { host } = cluster.host(1);
  const listens = () => run('nsenter', `--net=/run/netns/${host}`, 'ss', '-Hltn').includes(':8081');
  await until(listens);
  const figures = new Map<string, Measurement[]>();
  const peer = started.at(-1)?.pid ?? 0;
  for (let round = 0; round < ROUNDS; round++) {
    for (const kept of [true, false]) {
      for (const candidate of CANDIDATES) {
        const key = `${candidate} ${kept ? 'kept' : 'new'}`;
        const list = figures.get(key) ?? [];
        list.push(await measure(cluster, candidate, kept, peer));
        figures.set(key, list);
      }
    }
  }
  for (const kept of ['kept', 'new']) {
    const of = (candidate: Candidate, what: keyof Measurement) =>
      median((figures.get(`${candidate} ${kept}`) ?? []).map((one) => one[what]));
    for (const candidate of CANDIDATES) {
      const [rate, cpu] = [of(candidate, 'perSecond'), of(candidate, 'cpuMicros')];
      const figure = `${rate.toFixed(0)} requests/s, ${cpu.toFixed(1)} µs CPU a request`;
      process.stdout.write(`${kept} ${candidate}: ${figure}\n`);
    }
    for (const what of ['perSecond', 'cpuMicros'] as const) {
      for (const by of ['mesh', 'mesh-dsr'] as const) {
        const ratio = (to: Candidate) => (of(by, what) / of(to, what)).toFixed(2);
        const ratios = `${ratio('direct')} x direct, ${ratio('haproxy')} x haproxy`;
        process.stdout.write(`${kept} ${by}: ${what} ${ratios}\n`);
      }
    }
  }
} finally {
  for (const one of started) await one.stop();
  await serve(cluster, 'mesh');
  await cluster.stop();
}
