import type { AssignmentDiff, ServiceHead } from '../../link/assignment.ts';
import {
  type ClusterFile,
  type ClusterTask,
  KIND,
  type NodeAssignment,
} from '../../model/cluster.ts';
import type { Store, StoreEvent } from '../../store/store.ts';
import {
  attachedEndpoints,
  endpointsOf,
  headOf,
  isPlaced,
  isPublished,
  memberOf,
  overlayNetwork,
  overlaysOf,
} from './assignment.ts';
import { Board, type BoardView, type Notice } from './board.ts';
import { filesOf, isOver, type Versioned } from './cluster-state.ts';
import { namedSecrets } from './http-labels.ts';
import { ClusterView } from './orchestration/view.ts';

/** What opens the values that managers keep sealed. */
export type Opener = {
  openFile(file: ClusterFile): ClusterFile;
  overlayKey(sealed: string): string;
  login(sealed: string): string;
};

const EVERYBODY = '*';
/** What only nodes with a gateway get. */
const GATEWAYS = 'gateways';
const KEYS = 'keys';
const nodeTopic = (id: string) => `node ${id}`;
const networkTopic = (id: string) => `network ${id}`;
const serviceTopic = (id: string) => `service ${id}`;
const fileTopic = (id: string) => `file ${id}`;

/**
 * What every node of a cluster has to show and run. It follows the store: a change costs what it
 * changes, for the nodes that it concerns.
 */
export class Assignments {
  readonly #view: ClusterView;
  readonly #opener: Opener;
  readonly #board = new Board();
  readonly #topics = new Map<string, ReadonlySet<string>>();
  readonly #followers = new Map<string, Set<string>>();
  readonly #views = new Map<string, BoardView>();
  /** By task: where it was when last looked at. */
  readonly #places = new Map<string, string>();
  /** By attachment: its node. */
  readonly #attached = new Map<string, string>();
  readonly #published = new Set<string>();
  /** Who is told of a service and its tasks, by its id. */
  readonly #audiences = new Map<string, readonly string[]>();
  readonly #leaving = new Map<string, Versioned<ClusterTask>>();
  /** By name. */
  readonly #secrets = new Map<string, ClusterFile>();
  /** Secrets that gateways show as certificates, by service. */
  readonly #shown = new Map<string, readonly string[]>();
  /** Files that changed. */
  readonly #files = new Map<string, ClusterFile | undefined>();
  #port = 0;

  constructor(store: Store, opener: Opener) {
    this.#view = new ClusterView(store);
    this.#opener = opener;
    for (const { value } of filesOf(store)) this.#takeFile(value.id, value);
    this.refresh();
  }

  /** Tasks that are to end and have not yet. */
  get leaving(): ReadonlyMap<string, Versioned<ClusterTask>> {
    return this.#leaving;
  }

  /** Follows the store; `refresh` is due. */
  apply(events: readonly StoreEvent[]): void {
    this.#view.apply(events);
    for (const { kind, id, object } of events) {
      // exempt(as): the store holds what this program wrote
      if (kind === KIND.file) this.#takeFile(id, object?.value as ClusterFile | undefined);
    }
  }

  /** Takes in what changed. */
  refresh(): void {
    const touched = this.#view.takeTouched();
    const services = new Set(touched.services);
    const networks = new Set(touched.networks);
    const tasks = new Set(touched.tasks);
    for (const { id, serviceId } of this.#membersOf(networks)) {
      tasks.add(id);
      services.add(serviceId);
    }
    const sources = new Map<string, readonly Notice[]>();
    const moved = new Set<string>();
    if (touched.cluster) this.#takeCluster(sources);
    for (const id of touched.nodes) {
      sources.set(nodeTopic(id), this.#nodeNotices(id));
      for (const { value } of this.#view.tasksOfNode(id).values()) tasks.add(value.id);
      if (this.#topics.has(id)) moved.add(id);
    }
    const wasPublished = this.#published.size > 0;
    for (const id of services) sources.set(serviceTopic(id), this.#serviceNotices(id, tasks));
    if (this.#published.size > 0 !== wasPublished) {
      for (const id of this.#view.networks.keys()) networks.add(id);
    }
    for (const id of networks) sources.set(networkTopic(id), this.#networkNotices(id));
    for (const id of tasks) {
      sources.set(`task ${id}`, this.#taskNotices(id, moved));
    }
    for (const id of touched.attachments) {
      sources.set(`attachment ${id}`, this.#attachmentNotices(id, moved));
    }
    for (const [id, file] of this.#files) sources.set(fileTopic(id), this.#fileNotices(file));
    this.#files.clear();
    const changed = this.#board.post(sources);
    for (const id of networks) {
      for (const node of this.#followers.get(networkTopic(id)) ?? []) moved.add(node);
    }
    for (const id of moved) this.#follow(id);
    for (const topic of changed) {
      for (const node of this.#followers.get(topic) ?? []) this.#views.delete(node);
    }
  }

  /** What a node has to show and run, as of the last refresh. */
  of(nodeId: string): BoardView {
    if (!this.#topics.has(nodeId)) this.#follow(nodeId);
    const known = this.#views.get(nodeId);
    if (known) return known;
    const view = this.#board.view(this.#topics.get(nodeId) ?? []);
    this.#views.set(nodeId, view);
    return view;
  }

  /** All of a view that `of` has just given. */
  whole(view: BoardView): NodeAssignment {
    return this.#board.whole(view);
  }

  /** What makes the last view of a former one; undefined: that is too long ago. */
  diff(from: BoardView, to: BoardView): AssignmentDiff | undefined {
    return this.#board.diff(from, to);
  }

  /** Tasks on networks that changed: they and their services tell of them. */
  #membersOf(networks: ReadonlySet<string>): ClusterTask[] {
    if (networks.size === 0) return [];
    return [...this.#view.tasks.values()].flatMap(({ value }) =>
      Object.keys(value.addresses).some((network) => networks.has(network)) ? value : [],
    );
  }

  #takeFile(id: string, file: ClusterFile | undefined): void {
    this.#files.set(id, file);
    if (file?.kind === 'secret') this.#secrets.set(file.name, file);
    if (file) return;
    for (const [name, one] of this.#secrets) if (one.id === id) this.#secrets.delete(name);
  }

  #takeCluster(sources: Map<string, readonly Notice[]>): void {
    const { sealedOverlayKeys = [], dataPathPort = 0 } = this.#view.cluster ?? {};
    const keys = sealedOverlayKeys.map(({ id, key }) => ({
      ...{ topics: [KEYS], part: 'keys' as const },
      item: { id, key: this.#opener.overlayKey(key) },
    }));
    sources.set(KIND.cluster, keys);
    if (dataPathPort === this.#port) return;
    this.#port = dataPathPort;
    for (const id of this.#view.nodes.keys()) sources.set(nodeTopic(id), this.#nodeNotices(id));
  }

  #nodeNotices(id: string): Notice[] {
    const node = this.#view.nodes.get(id)?.value;
    if (!node) {
      this.#unfollow(id);
      return [];
    }
    const { address, dataPathAddress, description } = node;
    const { epoch, addresses = [] } = description;
    const own = { nodeId: id, address, dataPathAddress, dataPathPort: this.#port, epoch };
    const item = addresses.length > 0 ? { ...own, addresses } : own;
    return [{ topics: [EVERYBODY], part: 'peers', item }];
  }

  #networkNotices(id: string): Notice[] {
    const network = this.#view.networks.get(id)?.value;
    if (!network || network.segments.length === 0) return [];
    const { ingress } = network.spec;
    if (ingress && this.#published.size === 0) return [];
    const topics = [ingress ? EVERYBODY : networkTopic(id)];
    return [{ topics, part: 'networks', item: overlayNetwork(network) }];
  }

  /** `tasks`: those are added that others are told of than before. */
  #serviceNotices(id: string, tasks: Set<string>): Notice[] {
    const service = this.#view.services.get(id)?.value;
    this.#published.delete(id);
    this.#showSecrets(id, service ? namedSecrets(service.labels) : []);
    if (service && isPublished(service)) this.#published.add(id);
    const item = service && headOf(service, this.#view);
    const topics = item && this.#audience(item);
    if (topics?.join() !== this.#audiences.get(id)?.join()) {
      for (const task of this.#view.tasksOfService(id).keys()) tasks.add(task);
    }
    if (!topics) {
      this.#audiences.delete(id);
      return [];
    }
    this.#audiences.set(id, topics);
    return [{ topics, part: 'services', item }];
  }

  #showSecrets(id: string, names: readonly string[]): void {
    const before = this.#shown.get(id) ?? [];
    if (before.join() === names.join()) return;
    if (names.length > 0) this.#shown.set(id, names);
    else this.#shown.delete(id);
    for (const name of [...before, ...names]) {
      const file = this.#secrets.get(name);
      if (file) this.#files.set(file.id, file);
    }
  }

  /** Members of its networks; of a published one everybody; of one without either its own nodes. */
  #audience(item: ServiceHead): string[] {
    if (isPublished(item)) return [EVERYBODY];
    const { serviceId, vips, networkNames } = item;
    const networks = new Set([vips, networkNames].flatMap((one) => Object.keys(one)));
    return [serviceTopic(serviceId), ...[...networks].sort().map(networkTopic)];
  }

  #taskNotices(id: string, moved: Set<string>): Notice[] {
    const found = this.#view.tasks.get(id);
    const task = found?.value;
    const before = this.#places.get(id);
    if (before !== undefined) moved.add(before);
    this.#places.delete(id);
    this.#leaving.delete(id);
    if (!task || task.nodeId === '') return [];
    if (isOver(task.desired) && !isOver(task.report.state)) this.#leaving.set(id, found);
    this.#places.set(id, task.nodeId);
    moved.add(task.nodeId);
    const own: Notice = {
      topics: [nodeTopic(task.nodeId)],
      part: 'tasks',
      item: this.#opened(task),
    };
    if (!isPlaced(task)) return [own];
    const endpoints = endpointsOf(task, this.#view).map(
      (item): Notice => ({ topics: [networkTopic(item.network)], part: 'endpoints', item }),
    );
    const topics = this.#audiences.get(task.serviceId);
    const item = topics && memberOf(task, this.#view);
    return item ? [own, ...endpoints, { topics, part: 'members', item }] : [own, ...endpoints];
  }

  /** A task with what its node pulls the image with. */
  #opened(task: ClusterTask): ClusterTask {
    const { template } = task;
    if (template.login === undefined) return task;
    return { ...task, template: { ...template, login: this.#opener.login(template.login) } };
  }

  /** One without an address is told to its own node alone, so that it knows why. */
  #attachmentNotices(id: string, moved: Set<string>): Notice[] {
    const item = this.#view.attachments.get(id)?.value;
    for (const one of [item?.nodeId, this.#attached.get(id)]) if (one !== undefined) moved.add(one);
    if (!item) {
      this.#attached.delete(id);
      return [];
    }
    this.#attached.set(id, item.nodeId);
    const endpoints = item.address === '' ? [] : attachedEndpoints(item);
    const topics = [endpoints.length > 0 ? networkTopic(item.network) : nodeTopic(item.nodeId)];
    return [
      { topics, part: 'attachments', item },
      ...endpoints.map((one): Notice => ({ topics, part: 'endpoints', item: one })),
    ];
  }

  #fileNotices(file: ClusterFile | undefined): Notice[] {
    if (!file) return [];
    const item = this.#opener.openFile(file);
    const shown =
      file.kind === 'secret' && [...this.#shown.values()].some((one) => one.includes(file.name));
    const topics = [fileTopic(file.id), ...(shown ? [GATEWAYS] : [])];
    return [{ topics, part: 'files', item }];
  }

  /** A node follows what its tasks and attachments need. */
  #follow(nodeId: string): void {
    const node = this.#view.nodes.get(nodeId)?.value;
    if (!node) return;
    const topics = new Set([EVERYBODY, nodeTopic(nodeId)]);
    if (node.description.gateway) topics.add(GATEWAYS);
    const overlays = new Set<string>();
    for (const { value: task } of this.#view.tasksOfNode(nodeId).values()) {
      if (!isPlaced(task)) continue;
      topics.add(serviceTopic(task.serviceId));
      for (const { id } of task.template.files) topics.add(fileTopic(id));
      for (const id of overlaysOf(task, this.#view)) overlays.add(id);
    }
    for (const { value } of this.#view.attachmentsOfNode(nodeId).values()) {
      if (value.address !== '') overlays.add(value.network);
    }
    for (const id of overlays) {
      topics.add(networkTopic(id));
      const network = this.#view.networks.get(id)?.value;
      if (network && overlayNetwork(network).encrypted) topics.add(KEYS);
    }
    const before = this.#topics.get(nodeId);
    if (before && before.size === topics.size && [...topics].every((one) => before.has(one)))
      return;
    this.#unfollow(nodeId);
    this.#topics.set(nodeId, topics);
    for (const topic of topics) {
      this.#followers.set(topic, (this.#followers.get(topic) ?? new Set()).add(nodeId));
    }
  }

  #unfollow(nodeId: string): void {
    for (const topic of this.#topics.get(nodeId) ?? []) {
      const followers = this.#followers.get(topic);
      followers?.delete(nodeId);
      if (followers?.size === 0) this.#followers.delete(topic);
    }
    this.#topics.delete(nodeId);
    this.#views.delete(nodeId);
  }
}
