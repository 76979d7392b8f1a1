import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EMPTY_INTENT, forward, run, until } from '../../test/support/netns.ts';
import {
  clusterIntent,
  gatewayBridge,
  member,
  overlayNetwork,
  TestCluster,
} from '../../test/support/netns-cluster.ts';
import { type Started, start } from '../kernel/site.ts';
import { wrk } from '../lib/load.ts';
import { median } from '../lib/median.ts';

const SECONDS = 3;
const ROUNDS = Number(process.argv[2] ?? 3);
const TASK = '172.18.0.12';
const MESH_ADDRESS = '10.0.0.12';
const PORT = 8080;
const CANDIDATES = ['direct', 'mesh', 'haproxy'] as const;
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
  haproxy: 'http://192.0.2.11:8081/',
};

/** Host 1 takes the connections, host 2 has the task; with `false` neither has any rules. */
async function serve(cluster: TestCluster, mesh: boolean): Promise<void> {
  for (const [index, host] of cluster.hosts.entries()) {
    if (!mesh) {
      if (!host.agentRuns) continue;
      await host.killAgent();
      for (const table of ['inet', 'netdev']) {
        const name = `${host.prefix}-mesh`;
        run('nsenter', `--net=/run/netns/${host.host}`, 'nft', 'delete', 'table', table, name);
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
          direct: [],
          forwards: [forward(PORT, [`${local ? TASK : MESH_ADDRESS}:80`])],
        },
      }),
    );
    if (report.failures.length > 0) throw new Error(JSON.stringify(report.failures));
  }
}

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
    start(cluster.host(1).host, '0', ['haproxy', '-f', haproxy]),
  ];
}

/** What hosts do with packets is done on CPU 0; client and task have CPU 1. */
function steer(namespace: string, mask: string): void {
  // `ip netns exec` shows the files of the namespace's own links.
  const script = `for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo ${mask} > $f; done`;
  run('ip', 'netns', 'exec', namespace, 'sh', '-c', script);
}

/** Connections kept, and one for each request. */
async function measure(cluster: TestCluster, candidate: Candidate, kept: boolean) {
  await serve(cluster, candidate === 'mesh');
  for (const { host } of cluster.hosts) steer(host, '1');
  steer(cluster.router, '1');
  for (const namespace of [cluster.client, cluster.host(2).netns(task.id)]) steer(namespace, '2');
  const load = {
    ...{ connections: 32, seconds: SECONDS },
    headers: kept ? [] : ['Connection: close'],
  };
  const within = ['nsenter', `--net=/run/netns/${cluster.client}`];
  const { requests, errors } = await wrk(TARGETS[candidate], load, within);
  if (errors > 0 && kept) throw new Error(`${candidate}: ${errors} errors`);
  return requests / SECONDS;
}

const cluster = await TestCluster.start(2);
const started: Started[] = [];
try {
  await serve(cluster, true);
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
  const figures = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const kept of [true, false]) {
      for (const candidate of CANDIDATES) {
        const key = `${candidate} ${kept ? 'kept' : 'new'}`;
        const rates = figures.get(key) ?? [];
        rates.push(await measure(cluster, candidate, kept));
        figures.set(key, rates);
      }
    }
  }
  for (const kept of ['kept', 'new']) {
    const rate = (candidate: Candidate) => median(figures.get(`${candidate} ${kept}`) ?? []);
    for (const candidate of CANDIDATES) {
      process.stdout.write(`${kept} ${candidate}: ${rate(candidate).toFixed(0)} requests/s\n`);
    }
    const ratio = (to: Candidate) => (rate('mesh') / rate(to)).toFixed(2);
    process.stdout.write(`${kept}: ${ratio('direct')} x direct, ${ratio('haproxy')} x haproxy\n`);
  }
} finally {
  for (const one of started) await one.stop();
  await serve(cluster, true);
  await cluster.stop();
}
