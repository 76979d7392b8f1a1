import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid, unavailable } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import type { Rng } from '../../base/rng.ts';
import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import type { SessionTerms } from '../../link/cluster-protocol.ts';
import { formatHostPort } from '../../model/address.ts';
import type {
  AttachmentWish,
  Cluster,
  NodeAssignment,
  NodeDescription,
  OverlayNetwork,
  TaskReport,
} from '../../model/cluster.ts';
import { isWildcard } from '../../model/host-intent.ts';
import type { Store } from '../../store/store.ts';
import { NOT_A_MANAGER } from '../network-request.ts';
import {
  advertiseAddress,
  dataPathAddress,
  type LinkAddresses,
  listenAddress,
} from './addresses.ts';
import { clusterOf } from './cluster-state.ts';
import { type FoundingOrder, found } from './founding.ts';
import { identityOf } from './identity/authority.ts';
import { parseToken, parseUnlockKey } from './identity/tokens.ts';
import { askToJoin, type JoinOrder } from './joining.ts';
import type { TaskLogsSource } from './log-sender.ts';
import { ManagerPart, type Orchestration } from './manager.ts';
import type { Membership, MembershipFile } from './membership.ts';
import { NodeLink } from './node-link.ts';
import { A_MEMBER, A_WORKER, LOCKED, leaveWarning, NOT_A_MEMBER } from './refusals.ts';
import { ManagerKeys } from './secrets.ts';

/** What runs the tasks of an assignment on this host, and shows its networks and services. */
export interface AssignmentRunner {
  /** Resolves when what other nodes rely on is in place; rejects when the host refuses a part. */
  assign(assignment: NodeAssignment): Promise<void>;
  /** No node sends anything new to these tasks any more. */
  drained(tasks: readonly string[]): void;
  readonly logs: TaskLogsSource;
  /** Containers of this host on attachable networks. */
  wishes(): readonly AttachmentWish[];
  /** Where reports go from now on; undefined: nowhere. */
  reportTo(report: ((taskId: string, report: TaskReport) => void) | undefined): void;
}

export type MemberDeps = {
  readonly file: MembershipFile;
  /** Opens the store that this daemon was told to use. */
  openStore(): Promise<Store>;
  /** Several managers can have that store open. */
  readonly shared: boolean;
  /** Removes the file of a store that is of this host alone. */
  dropStore(): void;
  readonly orchestration: Orchestration;
  readonly runner: AssignmentRunner;
  describe(): NodeDescription;
  /** This node is a manager now, with the state of the cluster at hand. */
  managing(store: Store): void;
  links(): readonly LinkAddresses[];
  /** Address or link that others are told where an order names none; empty: the only one. */
  readonly advertise?: string;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
};

export type MemberState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

type Addresses = {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
};

export type InitOrder = Addresses &
  Omit<FoundingOrder, 'listen' | 'advertise' | 'dataPathAddress' | 'description'> & {
    readonly forceNew: boolean;
  };

export type JoinRequest = Addresses & JoinOrder;

const RETRY_MS = 1000;

/** This host as a node of a cluster, or of none. */
export class ClusterMember {
  readonly #deps: MemberDeps;
  #state: MemberState = 'inactive';
  #error = '';
  #membership: Membership | undefined;
  #assignment: NodeAssignment = NO_ASSIGNMENT;
  #manager: ManagerPart | undefined;
  #link: NodeLink | undefined;
  #locked = '';
  #epoch = 0;
  #closed = false;

  constructor(deps: MemberDeps) {
    this.#deps = deps;
  }

  get state(): MemberState {
    return this.#state;
  }

  /** Why the state is `error`; otherwise empty. */
  get error(): string {
    return this.#error;
  }

  get membership(): Membership | undefined {
    return this.#membership;
  }

  get manager(): ManagerPart | undefined {
    return this.#manager;
  }

  /** What this node has been told to run and show. */
  get assignment(): NodeAssignment {
    return this.#assignment;
  }

  /** Manager that this node is connected with. */
  get connectedTo(): string | undefined {
    return this.#link?.manager;
  }

  /** Throws, in the words that users know, on a node that is no manager now. */
  needManager(): ManagerPart {
    if (this.#manager) return this.#manager;
    if (this.#state === 'locked') throw unavailable(LOCKED);
    if (!this.#membership) throw unavailable(NOT_A_MANAGER);
    if (this.#membership.role === 'worker') throw unavailable(A_WORKER);
    throw unavailable(`this manager does not serve: ${this.#error || 'it is starting'}`);
  }

  /** Goes on as what this host was when it was last up. */
  async start(): Promise<void> {
    const kept = this.#deps.file.read();
    if (kept === 'locked') this.#state = 'locked';
    else if (kept) await this.#enter(kept);
  }

  /** Founds a cluster; the id of this node. */
  async init(order: InitOrder): Promise<string> {
    this.#needNone();
    if (order.forceNew) {
      throw invalid('there is no cluster here whose state a new one could be made of');
    }
    const addresses = this.#resolve(order);
    this.#state = 'pending';
    try {
      const store = await this.#deps.openStore();
      try {
        const there = clusterOf(store)?.value;
        if (there) throw invalid(`the store holds the cluster ${there.id}: join it instead`);
        const description = this.#deps.describe();
        const made = await found(store, { ...order, ...addresses, description }, this.#deps.clock);
        this.#deps.file.write(made.membership, this.#unlockKey(made.keys, store));
        await this.#enter(made.membership, store);
        return made.membership.nodeId;
      } catch (error) {
        await store.close();
        throw error;
      }
    } catch (error) {
      await this.#vanish();
      throw error;
    }
  }

  /** Becomes a node of a cluster, in the role that the token gives. */
  async join(order: JoinRequest): Promise<void> {
    this.#needNone();
    const addresses = this.#resolve(order);
    const token = parseToken(order.token);
    if (order.remoteAddrs.length === 0)
      throw invalid('at least one RemoteAddr is required to join');
    const { shared } = this.#deps;
    this.#state = 'pending';
    try {
      const { hostname } = this.#deps.describe();
      const grant = await askToJoin(order, token, { hostname, shared });
      const { nodeId, clusterId, role, certificate, roots, managers, dataKey, key } = grant;
      const membership: Membership = {
        ...{ nodeId, clusterId, role, certificate, roots, managers, dataKey, key, ...addresses },
      };
      this.#deps.file.write(membership, undefined);
      await this.#enter(membership);
    } catch (error) {
      await this.#vanish();
      throw error;
    }
  }

  /** Ends membership; tasks end too. A manager has to be forced. */
  async leave(force: boolean): Promise<void> {
    const manager = this.#manager;
    if (this.#state === 'inactive') throw unavailable(NOT_A_MEMBER);
    if (this.#state === 'locked' && !force) throw unavailable(LOCKED);
    if (this.#membership?.role === 'manager' && !force)
      throw unavailable(leaveWarning(manager?.isLast === true));
    if (manager) await manager.retire(this.#membership?.nodeId ?? '');
    await this.#vanish();
  }

  /** What opens what this manager keeps; undefined where nothing is locked. */
  get unlockKey(): string | undefined {
    const manager = this.#manager;
    const cluster = manager && clusterOf(manager.store)?.value;
    return cluster && manager?.keys.unlockKey(cluster);
  }

  /** Opens what this manager keeps; `text` is the unlock key. */
  async unlock(text: string): Promise<void> {
    if (this.#state === 'inactive') throw unavailable(NOT_A_MEMBER);
    if (this.#state !== 'locked') {
      throw new SluiceError('E_OBJECT_CONFLICT', 'swarm is not locked');
    }
    const key = parseUnlockKey(text);
    let membership: Membership | undefined;
    try {
      membership = this.#deps.file.unlock(key);
    } catch {
      throw invalid('swarm could not be unlocked: invalid key provided');
    }
    if (membership) await this.#enter(membership);
  }

  /** What this host can do has changed: managers are told anew. */
  introduce(): void {
    this.#link?.reconnect();
  }

  /** Its containers on attachable networks are others than before. */
  attachmentsChanged(): void {
    this.#link?.attachmentsChanged();
  }

  /** Asks a manager for an attachable network; undefined: there is none. */
  async findNetwork(key: string): Promise<OverlayNetwork | undefined> {
    if (!this.#link) throw unavailable(`network ${key} is not known here, and no manager answers`);
    return this.#link.findNetwork(key);
  }

  /** Lets go of managers and nodes; tasks run on. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#stop();
  }

  #needNone(): void {
    if (this.#state === 'locked') throw unavailable(LOCKED);
    if (this.#state !== 'inactive') throw unavailable(A_MEMBER);
  }

  #resolve({ listenAddr, advertiseAddr, dataPathAddr }: Addresses) {
    const links = this.#deps.links();
    const listen = listenAddress(listenAddr, links);
    return {
      listen,
      advertise: advertiseAddress(advertiseAddr || this.#deps.advertise || '', listen, links),
      dataPathAddress: dataPathAddress(dataPathAddr, links),
    };
  }

  /** Starts what a node of a cluster runs. */
  async #enter(membership: Membership, store?: Store): Promise<void> {
    const { file, runner } = this.#deps;
    const epoch = ++this.#epoch;
    this.#membership = membership;
    this.#state = 'pending';
    this.#assignment = file.readAssignment() ?? NO_ASSIGNMENT;
    if (membership.role === 'manager') {
      if (store) await this.#manage(store, epoch);
      else if (!(await this.#tryManage(epoch))) this.#manageLater(epoch);
    }
    this.#link = new NodeLink(this.#linkDeps());
    runner.reportTo((taskId, report) => this.#link?.report(taskId, report));
    // What it was told last holds until a manager tells more.
    await this.#link.start();
    if (this.#state === 'pending') this.#state = 'active';
  }

  async #manage(store: Store, epoch: number): Promise<void> {
    const membership = this.#membership;
    if (epoch !== this.#epoch || !membership?.dataKey) {
      await store.close();
      return;
    }
    const keys = new ManagerKeys(Buffer.from(membership.dataKey, 'base64'));
    const { orchestration, clock, rng, logger, shared } = this.#deps;
    const manager = new ManagerPart(
      {
        ...{ store, shared, keys, orchestration, clock, rng, logger },
        onCluster: (cluster) => this.#keepLocked(cluster, keys),
      },
      membership,
    );
    await manager.start(membership.listen.host, membership.listen.port);
    this.#manager = manager;
    this.#deps.managing(store);
    this.#state = 'active';
    this.#error = '';
  }

  async #tryManage(epoch: number): Promise<boolean> {
    let store: Store | undefined;
    try {
      store = await this.#deps.openStore();
      const there = clusterOf(store)?.value.id;
      if (there !== this.#membership?.clusterId) {
        throw new Error(`the store holds ${there ? `the cluster ${there}` : 'no cluster'}`);
      }
      await this.#manage(store, epoch);
      return true;
    } catch (error) {
      await store?.close();
      this.#error = errorText(error);
      this.#state = 'error';
      this.#deps.logger.error('this manager does not serve', { reason: this.#error });
      return false;
    }
  }

  #manageLater(epoch: number): void {
    this.#deps.clock.after(RETRY_MS, () => {
      const wanted = epoch === this.#epoch && !this.#closed && !this.#manager;
      if (!wanted || this.#membership?.role !== 'manager') return;
      void this.#tryManage(epoch).then((done) => {
        if (!done) this.#manageLater(epoch);
      });
    });
  }

  #linkDeps(): ConstructorParameters<typeof NodeLink>[0] {
    const { clock, rng, logger, runner, file } = this.#deps;
    const current = () => {
      if (!this.#membership) throw new Error('this host is of no cluster');
      return this.#membership;
    };
    return {
      ...{ clock, rng, logger },
      tls: current,
      managers: () => this.#managers(),
      hello: () => this.#hello(current()),
      assignment: () => this.#assignment,
      assigned: async (assignment) => {
        const gone = this.#assignment.tasks.filter(
          ({ id }) => !assignment.tasks.some((task) => task.id === id),
        );
        this.#assignment = assignment;
        file.writeAssignment(assignment);
        try {
          await runner.assign(assignment);
        } finally {
          for (const { id } of gone) this.#link?.forget(id);
        }
      },
      drained: (tasks) => runner.drained(tasks),
      wishes: () => runner.wishes(),
      logs: runner.logs,
      terms: (terms) => this.#takeTerms(terms),
      certified: (certificate, key, dataKey) => this.#certified(certificate, key, dataKey),
      removed: (reason) => {
        this.#error = reason;
        logger.warn('this node leaves the cluster', { reason });
        void this.#vanish();
      },
    };
  }

  /** Its own control port first: the leader's node is a node like any other. */
  #managers(): string[] {
    const { managers = [], listen } = this.#membership ?? {};
    if (!this.#manager || !listen) return [...managers];
    const host = isWildcard(listen.host) ? '127.0.0.1' : listen.host;
    return [formatHostPort(host, listen.port), ...managers];
  }

  #hello({ role, advertise, dataPathAddress: dataPath }: Membership) {
    const description = this.#deps.describe();
    const managerAddress =
      role === 'manager' ? formatHostPort(advertise.host, advertise.port) : undefined;
    return { description, address: advertise.host, dataPathAddress: dataPath, managerAddress };
  }

  #takeTerms({ managers, roots }: SessionTerms): void {
    if (!this.#membership) return;
    const next = { ...this.#membership, managers, roots };
    if (JSON.stringify(next) !== JSON.stringify(this.#membership)) this.#keep(next);
  }

  #certified(certificate: string, key: string, dataKey: string | undefined): void {
    const role = identityOf(new X509Certificate(certificate))?.role;
    if (!this.#membership || !role) return;
    this.#keep({ ...this.#membership, certificate, key, role, dataKey });
    const manager = this.#manager;
    if (role === 'manager' && manager) manager.renewed(this.#membership);
    else if (role === 'manager') this.#manageLater(this.#epoch);
    else if (manager) {
      this.#manager = undefined;
      void manager.close();
    }
  }

  #keep(membership: Membership): void {
    this.#membership = membership;
    const key = this.#manager && this.#unlockKey(this.#manager.keys, this.#manager.store);
    this.#deps.file.write(membership, membership.role === 'manager' ? key : undefined);
  }

  #unlockKey(keys: ManagerKeys, store: Store): Buffer | undefined {
    const cluster = clusterOf(store)?.value;
    const text = cluster && keys.unlockKey(cluster);
    return text === undefined ? undefined : parseUnlockKey(text);
  }

  /** Seals or opens what is on disk when the cluster wants it otherwise. */
  #keepLocked({ spec, sealedUnlockKey }: Cluster, keys: ManagerKeys): void {
    const now = spec.autolock ? sealedUnlockKey : '';
    const store = this.#manager?.store;
    if (now === this.#locked || !this.#membership || !store) return;
    this.#locked = now;
    this.#deps.file.write(this.#membership, this.#unlockKey(keys, store));
  }

  async #stop(): Promise<void> {
    this.#epoch++;
    this.#link?.close();
    this.#link = undefined;
    const manager = this.#manager;
    this.#manager = undefined;
    await manager?.close();
  }

  /** This host is of no cluster any more, whatever it was. */
  async #vanish(): Promise<void> {
    const { runner, file, logger } = this.#deps;
    const last = this.#membership?.role === 'manager';
    await this.#stop();
    file.clear();
    if (last && !this.#deps.shared) this.#deps.dropStore();
    this.#membership = undefined;
    this.#assignment = NO_ASSIGNMENT;
    this.#state = 'inactive';
    this.#error = '';
    this.#locked = '';
    runner.reportTo(undefined);
    await runner.assign(NO_ASSIGNMENT).catch((error: unknown) => {
      logger.warn('tasks of the cluster remain', { reason: errorText(error) });
    });
  }
}
