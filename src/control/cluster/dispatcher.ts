import { X509Certificate } from 'node:crypto';
import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { jitter, type Rng } from '../../base/rng.ts';
import {
  BEAT_JITTER,
  DEFAULT_HEARTBEAT_MS,
  MAX_REPORTS,
  type ManagerMessage,
  MISSED_BEATS,
  type NodeMessage,
  type SessionHello,
  type SessionTerms,
} from '../../link/cluster-protocol.ts';
import { type NodeSession, RefusedError, type SessionPeer } from '../../link/cluster-server.ts';
import { type ClusterNode, KIND, type NodeRole } from '../../model/cluster.ts';
import { edit } from '../../store/edit.ts';
import type { Store } from '../../store/store.ts';
import { lookUp } from '../lookup.ts';
import { overlayNetwork } from './assignment.ts';
import { Assignments, type Opener } from './assignments.ts';
import { AttachmentWriter } from './attachment-writer.ts';
import type { BoardView } from './board.ts';
import { clusterOf, findNode, managerAddresses, networksOf, nodesOf } from './cluster-state.ts';
import { digestOf, identityOf, issuerOf, type NodeIdentity } from './identity/authority.ts';
import { readReport } from './report.ts';
import { ReportWriter } from './report-writer.ts';

/** What a dispatcher needs of its manager. */
export type DispatcherDeps = {
  readonly store: Store;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
  readonly opener: Opener;
  /** A certificate for a node of the cluster, and what managers get with it. */
  renew(
    node: ClusterNode,
    request: string,
  ): Promise<{ certificate: string; dataKey: string | undefined }>;
};

/** Changes of the state within this time go to a node at once. */
const GATHER_MS = 20;
/** Heartbeats that a node may miss whose host is said to be lost: one, and what it may be late. */
const LOST_BEATS = 1.4;
/** Looks in a heartbeat while a host is said to be lost. */
const LOST_LOOKS = 5;

/** One node's session. */
class Session implements NodeSession {
  readonly nodeId: string;
  readonly issuer: string;
  readonly peer: SessionPeer;
  readonly #owner: Dispatcher;
  lastSeen: number;
  /** What the node has acknowledged, and which version of the state that is of. */
  applied: BoardView | undefined;
  appliedVersion = '';
  appliedOf = 0;
  /** What others rely on of it is in place there. */
  shown = false;
  /** Version of the state that the node is known to show. */
  shows = 0;
  /** What it was sent and has not yet acknowledged. */
  sent: { view: BoardView; of: number } | undefined;
  terms = '';
  /** Its connection is over; it may come back. */
  gone = false;
  readonly drained = new Set<string>();

  constructor(owner: Dispatcher, identity: NodeIdentity, issuer: string, peer: SessionPeer) {
    this.#owner = owner;
    this.nodeId = identity.nodeId;
    this.issuer = issuer;
    this.peer = peer;
    this.lastSeen = owner.now();
  }

  take(message: NodeMessage): void {
    this.lastSeen = this.#owner.now();
    this.#owner.take(this, message);
  }

  ended(): void {
    this.#owner.ended(this);
  }
}

/**
 * The leader's side of every node's session: who is up, what each one has to do, and what it says
 * of its tasks.
 */
export class Dispatcher {
  readonly #deps: DispatcherDeps;
  readonly #sessions = new Map<string, Session>();
  readonly #reports: ReportWriter;
  readonly #attachments: AttachmentWriter;
  readonly #unwatch: () => void;
  #lead: { readonly since: number; readonly assignments: Assignments } | undefined;
  #beat: Timer | undefined;
  /** Addresses of hosts that the store's own agents do not reach. */
  #lost: ReadonlySet<string> = new Set();
  #endHosts: (() => void) | undefined;
  #gathering: Timer | undefined;
  #version = 0;
  #closed = false;

  constructor(deps: DispatcherDeps) {
    this.#deps = deps;
    this.#reports = new ReportWriter(deps.store, deps.clock, deps.logger);
    this.#attachments = new AttachmentWriter(deps.store, deps.clock, deps.logger);
    this.#unwatch = deps.store.watch((events, version) => {
      this.#version = version;
      this.#lead?.assignments.apply(events);
      this.#gather();
    });
  }

  now(): number {
    return this.#deps.clock.now();
  }

  /** Nodes that are connected. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Nodes may come from now on; those that do not in time count as down. */
  lead(): void {
    const { store, opener } = this.#deps;
    const objects = Object.values(KIND).flatMap((kind) => store.list(kind));
    this.#version = objects.reduce((latest, { version }) => Math.max(latest, version), 0);
    this.#lead = { since: this.now(), assignments: new Assignments(store, opener) };
    this.#endHosts = store.hosts?.watch((lost) => {
      this.#lost = lost;
      this.#tick();
    });
    this.#tick();
  }

  /** Sends everybody to whoever leads now. */
  yield(): void {
    this.#lead = undefined;
    this.#endHosts?.();
    this.#beat?.cancel();
    for (const { peer } of this.#sessions.values()) {
      peer.send({ refused: 'this manager leads no more', code: 'E_CLUSTER_REFUSED' });
      peer.close();
    }
    this.#sessions.clear();
  }

  close(): void {
    this.yield();
    this.#closed = true;
    this.#gathering?.cancel();
    this.#reports.close();
    this.#attachments.close();
    this.#unwatch();
  }

  /** A node has connected. Throws to refuse it. */
  open(certificate: Buffer, hello: SessionHello, peer: SessionPeer): NodeSession {
    const cluster = clusterOf(this.#deps.store)?.value;
    const parsed = new X509Certificate(certificate);
    const identity = identityOf(parsed);
    if (!cluster || !identity || identity.clusterId !== cluster.id) {
      throw new RefusedError('your certificate is of another cluster');
    }
    if (!findNode(this.#deps.store, identity.nodeId)) {
      throw new RefusedError(`node ${identity.nodeId} is not of the cluster any more`, {
        removed: true,
      });
    }
    if (!this.#lead) throw new RefusedError('another manager leads', { leader: this.#leader() });
    const roots = [cluster.ca.certificate, cluster.ca.next?.certificate ?? []].flat();
    const root = issuerOf(parsed, roots);
    const session = new Session(this, identity, root ? digestOf(root) : '', peer);
    const before = this.#sessions.get(identity.nodeId);
    this.#sessions.set(identity.nodeId, session);
    before?.peer.close();
    session.appliedVersion = hello.assignment;
    session.shown = hello.shown === true;
    // What the node has is known from before: it gets what differs.
    if (before?.appliedVersion === hello.assignment) session.applied = before.applied;
    void this.#welcome(session, hello);
    return session;
  }

  take(session: Session, message: NodeMessage): void {
    if (this.#sessions.get(session.nodeId) !== session) return;
    if ('beat' in message) session.peer.send({ beat: message.beat });
    else if ('reports' in message) this.#take(session.nodeId, message.reports);
    else if ('attach' in message) this.#attachments.take(session.nodeId, message.attach);
    else if ('find' in message) session.peer.send(this.#find(message.find, message.ask));
    else if ('applied' in message) this.#applied(session, message.applied, message.shown);
    else if ('lost' in message) {
      session.sent = undefined;
      session.appliedVersion = '';
      this.#gather();
    } else void this.#renew(session, message.renew);
  }

  /** What a node may know of a network before a container of its own is on it. */
  #find(key: string, answer: number): ManagerMessage {
    try {
      const all = networksOf(this.#deps.store).map(({ value }) => value);
      const found = lookUp(all, key, 'network');
      if (!found) return { answer, network: undefined, denied: '' };
      if (found.spec.attachable) return { answer, network: overlayNetwork(found), denied: '' };
      throw new Error(`network ${key} not manually attachable`);
    } catch (error) {
      const denied = `rpc error: code = PermissionDenied desc = ${errorText(error)}`;
      return { answer, network: undefined, denied };
    }
  }

  ended(session: Session): void {
    if (this.#sessions.get(session.nodeId) !== session) return;
    // A node that was cut off may come back within the time that heartbeats may miss.
    session.gone = true;
  }

  /** Sends to a node; false: it is not connected. */
  tell(nodeId: string, message: ManagerMessage): boolean {
    const session = this.#sessions.get(nodeId);
    if (!session || session.gone) return false;
    session.peer.send(message);
    return true;
  }

  /** A node that has been removed: its session ends. */
  drop(nodeId: string): void {
    const session = this.#sessions.get(nodeId);
    this.#sessions.delete(nodeId);
    session?.peer.send({
      refused: 'the node was removed from the cluster',
      code: 'E_CLUSTER_REFUSED',
      removed: true,
    });
    session?.peer.close();
  }

  #leader(): string | undefined {
    const leads = nodesOf(this.#deps.store).find(({ value }) => value.leader);
    return leads?.value.managerAddress;
  }

  async #welcome(session: Session, hello: SessionHello): Promise<void> {
    const { address } = session.peer;
    const { description, dataPathAddress, managerAddress } = hello;
    try {
      await edit<ClusterNode>(this.#deps.store, KIND.node, session.nodeId, (node) => {
        const next: ClusterNode = {
          ...node,
          description,
          status: 'ready',
          statusMessage: '',
          address: hello.address || address,
          dataPathAddress: dataPathAddress || hello.address || address,
          managerAddress: node.role === 'manager' ? managerAddress : undefined,
          issuer: session.issuer,
        };
        return JSON.stringify(next) === JSON.stringify(node) ? undefined : next;
      });
      this.#gather();
    } catch (error) {
      this.#deps.logger.warn('a node was not let in', { reason: errorText(error) });
      session.peer.close();
    }
  }

  #take(nodeId: string, reports: readonly unknown[]): void {
    for (const entry of reports.slice(0, MAX_REPORTS)) {
      const { taskId, report }: { taskId?: unknown; report?: unknown } = Object(entry);
      const checked = readReport(report);
      if (checked && typeof taskId === 'string') this.#reports.add(nodeId, taskId, checked);
    }
  }

  #applied(session: Session, version: string, shown: boolean): void {
    const { sent } = session;
    if (sent?.view.version === version) {
      session.applied = sent.view;
      session.appliedVersion = version;
      session.appliedOf = sent.of;
      session.sent = undefined;
    } else if (version !== session.appliedVersion) return;
    session.shown = shown;
    if (shown) session.shows = session.appliedOf;
    this.#gather();
  }

  async #renew(session: Session, request: string): Promise<void> {
    const node = findNode(this.#deps.store, session.nodeId);
    if (!node) return;
    try {
      session.peer.send(await this.#deps.renew(node, request));
    } catch (error) {
      const { logger } = this.#deps;
      logger.warn('no certificate for a node', { node: node.id, reason: errorText(error) });
    }
  }

  #gather(): void {
    if (this.#gathering || this.#closed || !this.#lead) return;
    this.#gathering = this.#deps.clock.after(GATHER_MS, () => {
      this.#gathering = undefined;
      const assignments = this.#lead?.assignments;
      const terms = this.#terms();
      if (!assignments || !terms) return;
      assignments.refresh();
      for (const session of [...this.#sessions.values()]) this.#send(session, terms, assignments);
      this.#tellDrained(assignments);
    });
  }

  /** What holds for every session, as text by the role of its node. */
  #terms(): Record<NodeRole, string> | undefined {
    const cluster = clusterOf(this.#deps.store)?.value;
    if (!cluster) return undefined;
    const { certificate, next } = cluster.ca;
    const common: Omit<SessionTerms, 'role'> = {
      heartbeatMs: cluster.spec.heartbeatMs,
      managers: managerAddresses(this.#deps.store),
      roots: next ? [next.certificate, certificate] : [certificate],
      issuer: digestOf(next?.certificate ?? certificate),
    };
    const text = (role: NodeRole) => JSON.stringify({ ...common, role } satisfies SessionTerms);
    return { worker: text('worker'), manager: text('manager') };
  }

  /** Terms and assignment, as far as they differ from what the node has. */
  #send(session: Session, terms: Record<NodeRole, string>, assignments: Assignments): void {
    const node = findNode(this.#deps.store, session.nodeId);
    if (!node) {
      this.drop(session.nodeId);
      return;
    }
    const text = terms[node.role];
    if (text !== session.terms) session.peer.send({ terms: JSON.parse(text) });
    session.terms = text;
    // One at a time: a node that is slow gets the latest when it is ready, and no queue grows.
    if (session.sent || session.gone) return;
    this.#sendAssignment(session, assignments);
  }

  #sendAssignment(session: Session, assignments: Assignments): void {
    const view = assignments.of(session.nodeId);
    const { version } = view;
    const of = this.#version;
    if (version === session.appliedVersion) {
      session.applied = view;
      session.appliedOf = of;
      if (session.shown) session.shows = of;
      return;
    }
    session.sent = { view, of };
    const { applied, appliedVersion: base } = session;
    const diff = applied?.version === base ? assignments.diff(applied, view) : undefined;
    if (diff) session.peer.send({ diff, base, version });
    else session.peer.send({ whole: assignments.whole(view), version });
  }

  /**
   * A task that is to stop may do so once every node that is not down shows a state without it;
   * one that is cut off for a moment goes on sending to it.
   */
  #tellDrained({ leaving }: Assignments): void {
    let shown = Number.POSITIVE_INFINITY;
    for (const { shows, drained } of this.#sessions.values()) {
      shown = Math.min(shown, shows);
      for (const id of drained) if (!leaving.has(id)) drained.delete(id);
    }
    for (const { value: task, version } of leaving.values()) {
      if (version > shown) continue;
      const session = this.#sessions.get(task.nodeId);
      if (!session || session.drained.has(task.id)) continue;
      session.drained.add(task.id);
      session.peer.send({ drained: [task.id] });
    }
  }

  get #heartbeatMs(): number {
    return clusterOf(this.#deps.store)?.value.spec.heartbeatMs ?? DEFAULT_HEARTBEAT_MS;
  }

  /** Looks once a heartbeat who has not been heard of, more often while hosts are said to be lost. */
  #tick(): void {
    const everyMs = this.#heartbeatMs / (this.#lost.size > 0 ? LOST_LOOKS : 1);
    this.#beat?.cancel();
    this.#beat = this.#deps.clock.after(jitter(this.#deps.rng, everyMs, BEAT_JITTER), () => {
      if (!this.#lead) return;
      this.#tick();
      this.#look(this.#lead.since);
      this.#gather();
    });
  }

  #look(since: number): void {
    const late = (node: ClusterNode) => this.now() - this.#patienceMs(node);
    for (const { value: node } of nodesOf(this.#deps.store)) {
      const session = this.#sessions.get(node.id);
      if ((session?.lastSeen ?? since) >= late(node)) continue;
      this.#sessions.delete(node.id);
      session?.peer.close();
      if (session || node.status !== 'down') void this.#down(node.id);
    }
  }

  /** A host that is lost for others too has less time: its node is not merely busy. */
  #patienceMs({ address, dataPathAddress }: ClusterNode): number {
    const lost = this.#lost.has(address) || this.#lost.has(dataPathAddress);
    return this.#heartbeatMs * ((lost ? LOST_BEATS : MISSED_BEATS) + BEAT_JITTER);
  }

  async #down(nodeId: string): Promise<void> {
    const statusMessage = 'heartbeat failure';
    try {
      await edit<ClusterNode>(this.#deps.store, KIND.node, nodeId, (node) =>
        node.status === 'down' ? undefined : { ...node, status: 'down', statusMessage },
      );
      this.#deps.logger.warn('a node is down', { node: nodeId, reason: statusMessage });
    } catch (error) {
      this.#deps.logger.warn('a node is down', { node: nodeId, reason: errorText(error) });
    }
  }
}
