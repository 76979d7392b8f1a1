import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostIntent } from '../../src/model/host-intent.ts';
import {
  attachment,
  bridgeNetwork,
  forward,
  run,
  sandbox,
  TestHost,
  until,
} from '../../test/support/netns.ts';

/** The host's address towards the client, and that of the task behind it. */
export const GATEWAY = '192.0.2.10';
export const BACKEND = '172.20.0.11';
/** Published by the agent; the peers listen one above. */
export const PUBLISHED_PORT = 8080;
export const PEER_PORT = 8081;
/** The name that the backend's name server answers. */
export const NAME = 'app.bench.test';
const BULK_BYTES = 10 * 1024 * 1024;
const GATEWAY_CPUS = '1';
const LOAD_CPUS = '2';

const network = bridgeNetwork('a', ['172.20.0.0/24']);
const backend = sandbox('backend', [attachment('backend', network, [`${BACKEND}/24`])]);

/** The intent of a host whose only task is published by TCP and UDP. */
export const PUBLISHED: HostIntent = {
  networks: [network],
  sandboxes: [backend],
  forwards: [
    forward(PUBLISHED_PORT, [`${BACKEND}:80`]),
    forward(PUBLISHED_PORT, [`${BACKEND}:53`], { transport: 'udp' }),
  ],
  names: [],
};

/** A started process; `stop` ends it and waits. */
export type Started = { readonly pid: number; stop(): Promise<void> };

/** Starts a command on a CPU within a namespace. */
export function start(namespace: string, cpu: string, command: readonly string[]): Started {
  const argv = [`--net=/run/netns/${namespace}`, 'taskset', '-c', cpu, ...command];
  const child: ChildProcess = spawn('nsenter', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    pid: child.pid ?? 0,
    stop: () => {
      child.kill('SIGTERM');
      const last = setTimeout(() => child.kill('SIGKILL'), 3000);
      return ended.finally(() => clearTimeout(last));
    },
  };
}

function nginxConfig(root: string): string {
  return `daemon off; worker_processes 1; pid ${root}/nginx.pid; error_log stderr crit; user root;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 1000000000; sendfile on; root ${root}/www;
  server { listen 80 backlog=8192; location = / { return 200 "Hello, World\\n"; } location / { } } }
`;
}

/**
 * Client, gateway and backend, each in a network namespace of its own: the outside, the host and a
 * sandbox of a host under a real agent. What the gateway does with packets is done on CPU 0,
 * client and backend have CPU 1.
 */
export class Site {
  readonly host: TestHost;
  readonly #started: Started[] = [];

  private constructor(host: TestHost) {
    this.host = host;
  }

  /** Makes everything; the caller has to `close` it. */
  static async make(): Promise<Site> {
    const site = new Site(await TestHost.start());
    try {
      await site.#prepare();
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    const { host } = this;
    await this.publish();
    host.ip(host.outside, 'route', 'add', '172.20.0.0/24', 'via', GATEWAY);
    const inside = host.netns(backend.id);
    // Each namespace's packets are taken where its work belongs, not where they were sent.
    this.#steer(host.host, GATEWAY_CPUS);
    this.#steer(host.outside, LOAD_CPUS);
    this.#steer(inside, LOAD_CPUS);
    for (const namespace of [host.outside, inside]) {
      const settings = ['net.ipv4.ip_local_port_range=1024 65000', 'net.ipv4.tcp_timestamps=2'];
      const argv = [`--net=/run/netns/${namespace}`, 'sysctl', '-qw', ...settings];
      run('nsenter', ...argv, 'net.core.somaxconn=8192');
    }
    const root = host.root;
    mkdirSync(join(root, 'www'));
    writeFileSync(join(root, 'www', 'bulk'), '');
    truncateSync(join(root, 'www', 'bulk'), BULK_BYTES);
    writeFileSync(join(root, 'backend.conf'), nginxConfig(root));
    writeFileSync(join(root, 'queries'), `${NAME} A\n`);
    this.#started.push(start(inside, '1', ['nginx', '-c', join(root, 'backend.conf')]));
    const answers = [`--address=/${NAME}/192.0.2.1`, '--no-hosts', '--no-resolv', '--port=53'];
    this.#started.push(start(inside, '1', ['dnsmasq', '-k', '-C', '/dev/null', ...answers]));
    await this.untilListening(inside, 80);
    this.#keepAwake();
  }

  /**
   * Keeps the gateway's CPU out of its idle loop, by a program that runs only when nothing else does.
   * Where the kernel counts time by its clock's ticks, an idle CPU has none: what it did for packets
   * in between was counted or not as it happened to be.
   */
  #keepAwake(): void {
    const spin = ['chrt', '--idle', '0', 'sh', '-c', 'while :; do :; done'];
    this.#started.push(start(this.host.host, '0', spin));
  }

  #steer(namespace: string, mask: string): void {
    // `ip netns exec` shows the files of the namespace's own links.
    const script = `for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo ${mask} > $f; done`;
    run('ip', 'netns', 'exec', namespace, 'sh', '-c', script);
  }

  /** The file of queries for `dnsperf`. */
  get queries(): string {
    return join(this.host.root, 'queries');
  }

  /** The command that enters the client's namespace. */
  get asClient(): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.host.outside}`];
  }

  /** The agent has the host: one task, published. */
  async publish(): Promise<void> {
    if (!this.host.agentRuns) await this.host.startAgent('--log-level', 'error');
    const { failures } = await this.host.agent.sync(PUBLISHED);
    if (failures.length > 0) throw new Error(JSON.stringify(failures));
  }

  /** The host without the agent: its links stay, its table goes, and with it all tracking. */
  async withdraw(): Promise<void> {
    if (!this.host.agentRuns) return;
    await this.host.killAgent('SIGTERM');
    this.host.onHost('nft', 'delete', 'table', 'inet', this.host.prefix);
  }

  /** Waits until something listens on a TCP port of a namespace. */
  async untilListening(namespace: string, port: number): Promise<void> {
    await until(() => {
      const argv = ['ss', '-H', '-l', '-n', '-t', `sport = :${port}`];
      return run('nsenter', `--net=/run/netns/${namespace}`, ...argv).includes(`:${port}`);
    });
  }

  async close(): Promise<void> {
    for (const started of this.#started) await started.stop();
    await this.host.stop();
  }
}
