import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { seededRng } from '../../src/base/rng.ts';
import { Assignments } from '../../src/control/cluster/assignments.ts';
import { ClusterAttachments } from '../../src/control/cluster/attachments.ts';
import { UNDESCRIBED } from '../../src/control/cluster/manager.ts';
import { HostClusterPlane } from '../../src/control/cluster/plane.ts';
import { TaskWorker } from '../../src/control/cluster/worker.ts';
import { Engine } from '../../src/control/engine.ts';
import { AgentClient } from '../../src/link/agent-client.ts';
import { NO_ASSIGNMENT } from '../../src/link/assignment.ts';
import { type ClusterTask, KIND, type NodeAssignment } from '../../src/model/cluster.ts';
import type { ContainerHealthCheck, ContainerSpec } from '../../src/model/container.ts';
import { edit } from '../../src/store/edit.ts';
import { EmbeddedStore } from '../../src/store/embedded-store.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { nodeObject } from './assignment-objects.ts';
import { TEST_OPTIONS } from './engine.ts';
import type { TestHost } from './netns.ts';
import { TestCluster } from './netns-cluster.ts';

const PEER = fileURLToPath(new URL('../conformance/docker-cli/peer.mjs', import.meta.url));

/** One host's engine and worker over its agent, in the test's own process. */
class Node {
  readonly id: string;
  readonly host: TestHost;
  readonly faults: string[] = [];
  readonly #disk = EmbeddedStore.open(':memory:');
  readonly #ready: Promise<unknown>;
  #client!: AgentClient;
  #member = true;
  #last: NodeAssignment = NO_ASSIGNMENT;
  engine!: Engine;
  worker!: TaskWorker;
  report: ((taskId: string, report: ClusterTask['report']) => void) | undefined;

  constructor(id: string, host: TestHost) {
    this.id = id;
    this.host = host;
    this.#ready = this.start();
  }

  /** As a daemon does that has been here before, or has not. */
  async start(): Promise<void> {
    const target: { engine: Engine | undefined } = { engine: undefined };
    const path = join(this.host.root, 'agent.sock');
    let seen = false;
    const connected = Promise.withResolvers<void>();
    this.#client = new AgentClient(
      path,
      {
        taskExited: (...args) => target.engine?.taskExited(...args),
        execExited: (...args) => target.engine?.execExited(...args),
        degraded: (reason) => this.faults.push(reason),
        connected: (up) => {
          if (seen) target.engine?.connected(up);
          seen = true;
          connected.resolve();
        },
      },
      systemClock,
    );
    await connected.promise;
    const { host } = this;
    const logger = {
      ...silentLogger,
      warn: (text: string, more?: object) => this.faults.push(`${text} ${JSON.stringify(more)}`),
      error: (text: string, more?: object) => this.faults.push(`${text} ${JSON.stringify(more)}`),
    };
    this.engine = new Engine({
      ...{ store: this.#disk, agent: this.#client, logger, clock: systemClock },
      options: {
        ...TEST_OPTIONS,
        defaultBridge: { ...TEST_OPTIONS.defaultBridge, enabled: false },
      },
      facts: {
        ...{ resolvConf: () => '', hosts: () => '', hostname: () => this.id, routes: () => [] },
        ...{ dynamicPorts: () => [32_768, 60_999], hasLink: () => false },
        linkAddresses: () => undefined,
        sandboxPath: (id) => `/run/netns/${host.netns(id)}`,
      },
      ...{ rng: seededRng(1), plugins: { folders: [] } },
    });
    target.engine = this.engine;
    const number = this.id.slice(1);
    const plane = new HostClusterPlane({
      engine: this.engine,
      epoch: this.id,
      nodeId: () => (this.#member ? this.id : undefined),
      links: () => [{ link: 'eth0', addresses: [`192.0.2.1${number}`, `2001:db8:1::1${number}`] }],
    });
    if (this.#last !== NO_ASSIGNMENT) plane.hold(this.#last);
    const attachments = new ClusterAttachments({
      ...{ engine: this.engine, clock: systemClock, logger, isMember: () => this.#member },
      ...{ ask: async () => undefined, changed: () => {} },
      ...{ gateway: () => plane.gateway(), refresh: () => plane.refresh() },
    });
    this.worker = new TaskWorker({
      attachments,
      ...{ engine: this.engine, plane, logger, files: { put: () => [], drop: () => {} } },
      describe: () => ({ ...UNDESCRIBED, hostname: this.id }),
      now: () => new Date().toISOString(),
    });
    this.worker.reportTo((...args) => this.report?.(...args));
    await this.engine.start();
    if (this.#last !== NO_ASSIGNMENT) await this.worker.assign(this.#last);
  }

  async assign(assignment: NodeAssignment): Promise<void> {
    await this.#ready;
    this.#last = assignment;
    await this.worker.assign(assignment);
  }

  /** As a daemon that dies: everything else stays. */
  kill(): void {
    this.worker.reportTo(undefined);
    this.engine.close();
    this.#client.close();
  }

  async leave(): Promise<void> {
    this.#member = false;
    await this.assign(NO_ASSIGNMENT);
  }

  close(): void {
    this.kill();
    this.#disk.close();
  }
}

/**
 * Hosts with an engine each, and a state of a cluster that tests write: who is where is what the
 * objects say, and what tasks report goes into them.
 */
export class NodeCluster {
  readonly net: TestCluster;
  readonly store = new LocalStore(':memory:');
  readonly nodes: Node[] = [];
  readonly #assignments: Assignments;
  #spreading: Promise<void> = Promise.resolve();

  private constructor(net: TestCluster) {
    this.net = net;
    this.#assignments = new Assignments(this.store, {
      openFile: (file) => file,
      overlayKey: (sealed) => sealed,
      login: (sealed: string) => sealed,
    });
    this.store.watch((events) => {
      this.#assignments.apply(events);
      this.#spread();
    });
  }

  static async start(size: number): Promise<NodeCluster> {
    const cluster = new NodeCluster(await TestCluster.start(size));
    await cluster.put(KIND.cluster, {
      ...{ id: 'cluster', dataPathPort: 4789, sealedOverlayKeys: [] },
    });
    for (const [index, host] of cluster.net.hosts.entries()) {
      const node = new Node(`n${index + 1}`, host);
      node.report = (taskId, report) => {
        void edit<ClusterTask>(cluster.store, KIND.task, taskId, (task) => ({ ...task, report }));
      };
      cluster.nodes.push(node);
      const address = `192.0.2.1${index + 1}`;
      await cluster.put(KIND.node, nodeObject(node.id, { address, dataPathAddress: address }));
    }
    return cluster;
  }

  node(number: number): Node {
    const found = this.nodes[number - 1];
    if (!found) throw new Error(`no node ${number}`);
    return found;
  }

  async put<T extends { readonly id: string }>(kind: string, value: T): Promise<void> {
    await this.store.update([{ kind, id: value.id, value }]);
  }

  async drop(kind: string, id: string): Promise<void> {
    await this.store.update([{ kind, id, value: undefined }]);
  }

  async want(taskId: string, desired: ClusterTask['desired']): Promise<void> {
    await edit<ClusterTask>(this.store, KIND.task, taskId, (task) => ({ ...task, desired }));
  }

  report(taskId: string): ClusterTask['report'] | undefined {
    // exempt(as): what tests and nodes have written
    return (this.store.get(KIND.task, taskId)?.value as ClusterTask | undefined)?.report;
  }

  /** Whether every one of these tasks takes connections. */
  serving(...taskIds: string[]): boolean {
    return taskIds.every((id) => this.report(id)?.serving);
  }

  /** Everything that the nodes complain of, and what tasks say. */
  get story(): string {
    const tasks = this.store
      .list(KIND.task)
      .map(({ id }) => `${id} ${JSON.stringify(this.report(id))}`);
    return [
      ...this.nodes.flatMap(({ id, faults }) => faults.map((one) => `${id} ${one}`)),
      ...tasks,
    ].join('\n');
  }

  /** Resolves when every node shows the state as it is now. */
  async settle(): Promise<void> {
    let before: Promise<void> | undefined;
    while (before !== this.#spreading) {
      before = this.#spreading;
      await before;
    }
  }

  #spread(): void {
    this.#spreading = this.#spreading.then(async () => {
      this.#assignments.refresh();
      await Promise.all(
        this.nodes.map(async (node) => {
          const view = this.#assignments.of(node.id);
          try {
            await node.assign(this.#assignments.whole(view));
          } catch (error) {
            node.faults.push(String(error));
          }
        }),
      );
    });
  }

  async stop(): Promise<void> {
    await this.settle();
    for (const node of this.nodes) node.close();
    await this.net.stop();
    await this.store.close();
  }
}

/** The container of a task that answers with its name and its client's address on port 80. */
export function serving(name: string, health?: ContainerHealthCheck): ContainerSpec {
  return {
    ...{ image: 'host', entrypoint: [], env: [], cwd: '', user: '', groups: [], hostname: '' },
    command: [process.execPath, PEER, 'serve', name, 'tcp:80', 'udp:80'],
    ...{ domainname: '', tty: false, openStdin: false, stdinOnce: false, labels: {} },
    ...{ stopSignal: '', stopTimeoutMs: 1000, autoRemove: false, health, exposed: [], ports: [] },
    ...{ restart: { when: 'no', maximum: 0 }, mode: { kind: 'networks' }, publishAll: false },
    ...{ dns: { servers: [], search: [], options: [] }, extraHosts: [], sysctls: {}, mounts: [] },
    ...{
      capabilities: ['CAP_NET_BIND_SERVICE'],
      privileged: false,
      noNewPrivileges: false,
      pidHost: false,
    },
    limits: { memoryBytes: undefined, nanoCpus: undefined, pids: undefined },
  };
}
