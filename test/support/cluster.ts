import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { systemRng } from '../../src/base/rng.ts';
import { DEFAULT_SPEC } from '../../src/control/cluster/founding.ts';
import { formatToken } from '../../src/control/cluster/identity/tokens.ts';
import type { Orchestration } from '../../src/control/cluster/manager.ts';
import {
  type AssignmentRunner,
  ClusterMember,
  type InitOrder,
  type JoinRequest,
  type MemberDeps,
} from '../../src/control/cluster/member.ts';
import { MembershipFile } from '../../src/control/cluster/membership.ts';
import { NO_ASSIGNMENT } from '../../src/link/assignment.ts';
import type { AttachmentWish, NodeAssignment, TaskReport } from '../../src/model/cluster.ts';
import { EmbeddedStore } from '../../src/store/embedded-store.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import type { Store } from '../../src/store/store.ts';

const BY_HAND: Orchestration = { lead: () => () => {} };

/** Keeps what it is assigned, and reports what a test says. */
export class Recorder implements AssignmentRunner {
  readonly assigned: NodeAssignment[] = [];
  readonly drainedTasks: string[] = [];
  wished: readonly AttachmentWish[] = [];
  /** What the host refuses. */
  refuses = '';
  report: ((taskId: string, report: TaskReport) => void) | undefined;

  get last(): NodeAssignment {
    return this.assigned.at(-1) ?? NO_ASSIGNMENT;
  }

  async assign(assignment: NodeAssignment): Promise<void> {
    this.assigned.push(assignment);
    if (this.refuses !== '') throw new Error(this.refuses);
  }

  drained(tasks: readonly string[]): void {
    this.drainedTasks.push(...tasks);
  }

  readonly logs: AssignmentRunner['logs'] = (taskId, _, line, ended) => {
    const said = Buffer.from(`${taskId} speaks\n`);
    line({ stream: 'stdout', timeNs: 1n, line: said });
    ended();
    return () => {};
  };

  wishes(): readonly AttachmentWish[] {
    return this.wished;
  }

  reportTo(report: Recorder['report']): void {
    this.report = report;
  }
}

/** A node whose tasks are only recorded; everything else is real. */
export class TestNode {
  readonly runner = new Recorder();
  readonly disk: EmbeddedStore;
  readonly member: ClusterMember;
  readonly port: number;

  constructor(
    port: number,
    disk = EmbeddedStore.open(':memory:'),
    open: () => Promise<Store> = async () => new LocalStore(':memory:'),
    more: Partial<MemberDeps> = {},
  ) {
    this.port = port;
    this.disk = disk;
    this.member = new ClusterMember({
      file: new MembershipFile(this.disk),
      openStore: open,
      shared: false,
      dropStore: () => {},
      orchestration: BY_HAND,
      runner: this.runner,
      describe: () => ({
        ...{ hostname: `host${port}`, os: 'linux', arch: 'x86_64', nanoCpus: 1e9 },
        ...{ memoryBytes: 2 ** 30, engineVersion: '0', engineLabels: {}, networkDrivers: [] },
        epoch: '',
      }),
      managing: () => {},
      links: () => [{ link: 'lo', addresses: ['127.0.0.1'] }],
      clock: systemClock,
      rng: systemRng,
      logger: silentLogger,
      ...more,
    });
  }

  init(more: Partial<InitOrder> = {}): Promise<string> {
    const spec = { ...DEFAULT_SPEC, heartbeatMs: 1000 };
    return this.member.init({
      ...{ ...this.#addresses(), spec, availability: 'active', dataPathPort: 4789 },
      ...{ addressPools: [], subnetBits: 24, forceNew: false },
      ...more,
    });
  }

  join(manager: TestNode, token: string, more: Partial<JoinRequest> = {}): Promise<void> {
    const remoteAddrs = [`127.0.0.1:${manager.port}`];
    const addresses = this.#addresses();
    return this.member.join({ ...addresses, remoteAddrs, token, availability: 'active', ...more });
  }

  /** What others join the cluster with that this node manages. */
  token(role: 'worker' | 'manager'): string {
    const { cluster, tokenDigest } = this.member.needManager();
    return formatToken({ rootDigest: tokenDigest, secret: cluster.joinSecrets[role] });
  }

  #addresses() {
    const listenAddr = `127.0.0.1:${this.port}`;
    return { listenAddr, advertiseAddr: '', dataPathAddr: '' };
  }
}
