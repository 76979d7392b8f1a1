import { randomBytes, X509Certificate } from 'node:crypto';
import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import type { Rng } from '../../base/rng.ts';
import type { JoinGrant, JoinOrder, SessionHello } from '../../link/cluster-protocol.ts';
import {
  ClusterServer,
  type ClusterTls,
  type ManagerPort,
  RefusedError,
  type SessionPeer,
} from '../../link/cluster-server.ts';
import {
  type Cluster,
  type ClusterNode,
  KIND,
  type NodeAvailability,
} from '../../model/cluster.ts';
import { edit } from '../../store/edit.ts';
import { MAX_CHANGES, type Store } from '../../store/store.ts';
import { stamp } from '../ids.ts';
import { keepCatalog } from './catalog.ts';
import { clusterOf, managerAddresses, nodesOf } from './cluster-state.ts';
import { Dispatcher } from './dispatcher.ts';
import { digestOf, identityOf, issue, issuerOf, type Root } from './identity/authority.ts';
import { newClusterId, parseToken, roleOfSecret, tokenDigest } from './identity/tokens.ts';
import type { ManagerKeys } from './secrets.ts';
import { TaskLogs } from './task-logs.ts';

/** What runs on the leader over the state: scheduling, updates, restarts, addresses. */
export type Orchestration = {
  /** Starts the loops; the returned function ends them. */
  lead(store: Store): () => void;
};

/** A manager's own certificate and key, as PEM. */
export type ManagerIdentity = {
  readonly nodeId: string;
  readonly certificate: string;
  readonly key: string;
};

export type ManagerDeps = {
  readonly store: Store;
  /** Whether other managers can have it open as well. */
  readonly shared: boolean;
  readonly keys: ManagerKeys;
  readonly orchestration: Orchestration;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
  /** The cluster's object has changed. */
  onCluster(cluster: Cluster): void;
};

/** What the key of an encrypted overlay is made of: AES-128-GCM with its salt. */
const OVERLAY_KEY_BYTES = 20;
const OVERLAY_KEYS = 3;
const OVERLAY_KEY_MS = 12 * 3600_000;
const LOOK_MS = 60_000;
/** Answers to wrong tokens come this much later. */
const WRONG_TOKEN_MS = 1000;
const CLAIM_AGAIN_MS = 1000;
export const ONE_MANAGER =
  'this cluster keeps its state on its one manager: to have several, start every manager with --cluster-store';

function isAvailability(text: string): text is NodeAvailability {
  return text === 'active' || text === 'pause' || text === 'drain';
}

/** The part of a manager that serves nodes, and leads while it is its turn. */
export class ManagerPart implements ManagerPort {
  readonly store: Store;
  readonly keys: ManagerKeys;
  readonly shared: boolean;
  /** Output of tasks on whatever node, while this manager leads. */
  readonly taskLogs: TaskLogs;
  readonly #deps: ManagerDeps;
  readonly #dispatcher: Dispatcher;
  readonly #server: ClusterServer;
  #identity: ManagerIdentity;
  #tls = '';
  #unwatch: () => void = () => {};
  #resign: () => Promise<void> = async () => {};
  #endLoops: () => void = () => {};
  #endCatalog: () => void = () => {};
  #look: Timer | undefined;
  #leads = false;

  constructor(deps: ManagerDeps, identity: ManagerIdentity) {
    this.store = deps.store;
    this.keys = deps.keys;
    this.shared = deps.shared;
    this.#deps = deps;
    this.#identity = identity;
    this.#server = new ClusterServer(this, deps.logger);
    this.#dispatcher = new Dispatcher({
      ...deps,
      opener: this.keys,
      renew: async (node, request) => ({
        certificate: await this.certificateFor(node, request),
        dataKey: node.role === 'manager' ? this.keys.dataKey.toString('base64') : undefined,
      }),
    });
    this.taskLogs = new TaskLogs(
      (nodeId, logs) => this.#dispatcher.tell(nodeId, { logs }),
      deps.clock,
    );
  }

  get leads(): boolean {
    return this.#leads;
  }

  get cluster(): Cluster {
    const found = clusterOf(this.store)?.value;
    if (!found) throw invalid('the store holds no cluster');
    return found;
  }

  /** Resolves when nodes are served. Throws when the address cannot be bound. */
  async start(host: string, port: number): Promise<void> {
    await this.#server.listen(host, port, this.#chain());
    this.#unwatch = this.store.watch((events) => {
      if (events.some(({ kind }) => kind === KIND.cluster)) this.#clusterChanged();
      if (this.#leads) void this.#finishRotation();
    });
    this.#clusterChanged();
    this.#resign = this.store.campaign(this.#identity.nodeId, (leads) => this.#turn(leads));
  }

  /** Another certificate for new connections. */
  renewed(identity: ManagerIdentity): void {
    this.#identity = identity;
    this.#clusterChanged();
  }

  async close(): Promise<void> {
    this.#unwatch();
    await this.#resign();
    this.#turn(false);
    this.#dispatcher.close();
    await this.#server.close();
    await this.store.close();
  }

  async join(order: JoinOrder, address: string): Promise<JoinGrant> {
    const { logger, clock } = this.#deps;
    const cluster = this.cluster;
    const role = roleOfSecret(cluster.joinSecrets, parseToken(order.token).secret);
    if (!role) {
      logger.warn('a node came with a wrong join token', { address });
      await new Promise<void>((resolve) => void clock.after(WRONG_TOKEN_MS, resolve));
      throw new RefusedError('A valid join token is necessary to join this cluster');
    }
    if (role === 'manager' && !this.shared) throw new RefusedError(ONE_MANAGER);
    if (role === 'manager' && !order.shared) {
      const text =
        'a manager needs the store of the cluster: start this daemon with --cluster-store';
      throw new RefusedError(text);
    }
    const now = stamp(clock);
    const { hostname } = order;
    const node: ClusterNode = {
      ...{ id: newClusterId(), name: '', labels: {}, created: now, updated: now, role },
      availability: isAvailability(order.availability) ? order.availability : 'active',
      description: { ...UNDESCRIBED, hostname },
      ...{ status: 'unknown', statusMessage: '', address, dataPathAddress: address },
      ...{ managerAddress: undefined, leader: false },
    };
    const certificate = await this.certificateFor(node, order.request);
    await this.store.update([{ kind: KIND.node, id: node.id, value: node, expected: 0 }]);
    logger.info('a node has joined', { node: node.id, role, hostname, address });
    return {
      ...{ nodeId: node.id, clusterId: cluster.id, role, certificate, roots: this.#roots() },
      managers: managerAddresses(this.store),
      dataKey: role === 'manager' ? this.keys.dataKey.toString('base64') : undefined,
    };
  }

  session(certificate: Buffer, hello: SessionHello, peer: SessionPeer) {
    return this.#dispatcher.open(certificate, hello, peer);
  }

  logs(certificate: Buffer, stream: string, close: () => void) {
    const nodeId = identityOf(new X509Certificate(certificate))?.nodeId ?? '';
    return this.taskLogs.open(nodeId, stream, close);
  }

  /** No other manager is in the cluster. */
  get isLast(): boolean {
    return nodesOf(this.store).filter(({ value }) => value.role === 'manager').length <= 1;
  }

  /** This manager is to leave: the last one takes the whole state with it. */
  async retire(nodeId: string): Promise<void> {
    const { store } = this;
    if (!this.isLast) {
      await edit<ClusterNode>(store, KIND.node, nodeId, (node) => ({
        ...node,
        ...{ status: 'down', statusMessage: 'it has left', leader: false },
      }));
      return;
    }
    if (!this.shared) return;
    const all = Object.values(KIND).flatMap((kind) =>
      store.list(kind).map(({ id }) => ({ kind, id })),
    );
    for (let at = 0; at < all.length; at += MAX_CHANGES) {
      const part = all.slice(at, at + MAX_CHANGES);
      await store.update(part.map((one) => ({ ...one, value: undefined })));
    }
  }

  /** A certificate for a node in the role that it is to have. */
  async certificateFor({ id, role }: ClusterNode, request: string): Promise<string> {
    const { ca, spec, id: clusterId } = this.cluster;
    const { certificate, sealedKey } = ca.next ?? ca;
    const root: Root = { certificate, key: this.keys.rootKey(sealedKey) };
    const now = this.#deps.clock.wall();
    return issue(root, { nodeId: id, role, clusterId, request, lifeMs: spec.certificateMs, now });
  }

  /** Digest that join tokens carry. */
  get tokenDigest(): string {
    return tokenDigest(new X509Certificate(this.cluster.ca.certificate).raw);
  }

  #roots(): string[] {
    const { certificate, next } = this.cluster.ca;
    return next ? [next.certificate, certificate] : [certificate];
  }

  #chain(): ClusterTls {
    const { certificate, key } = this.#identity;
    const { ca } = this.cluster;
    const roots = this.#roots();
    const issuer = issuerOf(new X509Certificate(certificate), roots);
    const isNext = ca.next && issuer && digestOf(issuer) === digestOf(ca.next.certificate);
    const rest = ca.next && isNext ? ca.next.crossSigned : '';
    return { chain: `${certificate}${rest}${ca.certificate}`, key, roots };
  }

  #clusterChanged(): void {
    if (!clusterOf(this.store)) return;
    const tls = this.#chain();
    const text = JSON.stringify(tls);
    if (text !== this.#tls) this.#server.renew(tls);
    this.#tls = text;
    this.#deps.onCluster(this.cluster);
  }

  #turn(leads: boolean): void {
    if (leads === this.#leads) return;
    this.#leads = leads;
    this.#look?.cancel();
    if (!leads) {
      this.#endLoops();
      this.#endCatalog();
      this.#dispatcher.yield();
      return;
    }
    this.#dispatcher.lead();
    this.#endLoops = this.#deps.orchestration.lead(this.store);
    const { catalog } = this.store;
    if (catalog) this.#endCatalog = keepCatalog(this.store, catalog, this.#deps);
    void this.#claim();
    void this.#finishRotation();
    this.#lookAfterKeys();
  }

  /** Tells in the state who leads, where other managers look for it. */
  async #claim(): Promise<void> {
    try {
      for (const { value } of nodesOf(this.store)) {
        const leader = value.id === this.#identity.nodeId;
        await edit<ClusterNode>(this.store, KIND.node, value.id, (node) =>
          node.leader === leader ? undefined : { ...node, leader },
        );
      }
    } catch (error) {
      this.#deps.logger.warn('the lead is not yet told', { reason: errorText(error) });
      this.#deps.clock.after(CLAIM_AGAIN_MS, () => {
        if (this.#leads) void this.#claim();
      });
    }
  }

  /** Once every node has a certificate of the next root, that one is the root. */
  async #finishRotation(): Promise<void> {
    const { next } = clusterOf(this.store)?.value.ca ?? {};
    if (!next) return;
    const digest = digestOf(next.certificate);
    if (nodesOf(this.store).some(({ value }) => value.issuer !== digest)) return;
    const { certificate, sealedKey } = next;
    await this.#editCluster((cluster) =>
      cluster.ca.next?.certificate === certificate
        ? { ...cluster, ca: { certificate, sealedKey, next: undefined } }
        : undefined,
    );
    this.#deps.logger.info('every node has a certificate of the new root');
  }

  #lookAfterKeys(): void {
    const latest = this.cluster.sealedOverlayKeys.at(-1);
    const age = this.#deps.clock.wall() - Date.parse(latest?.made ?? '1970-01-01');
    if (age >= OVERLAY_KEY_MS) void this.#editCluster((cluster) => this.#withNewKey(cluster));
    this.#look = this.#deps.clock.after(LOOK_MS, () => this.#lookAfterKeys());
  }

  #withNewKey(cluster: Cluster): Cluster {
    const { sealedOverlayKeys } = cluster;
    const key = this.keys.sealOverlayKey(randomBytes(OVERLAY_KEY_BYTES).toString('hex'));
    const id = (sealedOverlayKeys.at(-1)?.id ?? 0) + 1;
    const all = [...sealedOverlayKeys, { id, key, made: stamp(this.#deps.clock) }];
    return { ...cluster, sealedOverlayKeys: all.slice(-OVERLAY_KEYS) };
  }

  async #editCluster(change: (cluster: Cluster) => Cluster | undefined): Promise<void> {
    const { store } = this;
    try {
      await edit<Cluster>(store, KIND.cluster, this.cluster.id, change);
    } catch (error) {
      this.#deps.logger.warn('the cluster was not changed', { reason: errorText(error) });
    }
  }
}

/** A node that has not yet described itself. */
export const UNDESCRIBED = {
  hostname: '',
  os: '',
  arch: '',
  nanoCpus: 0,
  memoryBytes: 0,
  engineVersion: '',
  engineLabels: {},
  networkDrivers: [],
  epoch: '',
} as const;
