import {
  type Cluster,
  type ClusterAttachment,
  type ClusterNetwork,
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  KIND,
} from '../../../model/cluster.ts';
import type { Store, StoreEvent } from '../../../store/store.ts';
import type { Versioned } from '../cluster-state.ts';

/** Ids of what changed since they were last taken. */
export type Touched = {
  readonly services: ReadonlySet<string>;
  readonly tasks: ReadonlySet<string>;
  readonly nodes: ReadonlySet<string>;
  readonly networks: ReadonlySet<string>;
  readonly attachments: ReadonlySet<string>;
  /** The cluster's own object. */
  readonly cluster: boolean;
};

const PARTS = ['services', 'tasks', 'nodes', 'networks', 'attachments'] as const;

/** What changed and has not been looked at. */
export class Unseen implements Touched {
  readonly services = new Set<string>();
  readonly tasks = new Set<string>();
  readonly nodes = new Set<string>();
  readonly networks = new Set<string>();
  readonly attachments = new Set<string>();
  cluster = false;

  get isEmpty(): boolean {
    return !this.cluster && PARTS.every((part) => this[part].size === 0);
  }

  add(touched: Touched): void {
    for (const part of PARTS) for (const id of touched[part]) this[part].add(id);
    this.cluster ||= touched.cluster;
  }
}

type Group<T> = Map<string, Map<string, Versioned<T>>>;

function join<T extends { id: string }>(group: Group<T>, key: string, one: Versioned<T>): void {
  const members = group.get(key) ?? new Map<string, Versioned<T>>();
  members.set(one.value.id, one);
  group.set(key, members);
}

function leave<T>(group: Group<T>, key: string, id: string): void {
  const members = group.get(key);
  members?.delete(id);
  if (members?.size === 0) group.delete(key);
}

const NOBODY: ReadonlyMap<string, Versioned<never>> = new Map();

/**
 * The state of a cluster as its control loops read it: every kind by id, tasks also by service and
 * by node. It follows the store change by change, so that a step costs what it touches.
 */
export class ClusterView {
  readonly services = new Map<string, Versioned<ClusterService>>();
  readonly nodes = new Map<string, Versioned<ClusterNode>>();
  readonly networks = new Map<string, Versioned<ClusterNetwork>>();
  readonly tasks = new Map<string, Versioned<ClusterTask>>();
  readonly attachments = new Map<string, Versioned<ClusterAttachment>>();
  cluster: Cluster | undefined;
  readonly #byService: Group<ClusterTask> = new Map();
  readonly #byNode: Group<ClusterTask> = new Map();
  readonly #attached: Group<ClusterAttachment> = new Map();
  #touched = new Unseen();

  /** Everything that a store holds counts as touched. */
  constructor(store: Store) {
    const { cluster, node, network, service, task, attachment } = KIND;
    for (const kind of [cluster, node, network, service, task, attachment]) {
      this.apply(store.list(kind).map((object) => ({ kind, id: object.id, object })));
    }
  }

  /** Tasks of a service, ended ones among them. */
  tasksOfService(id: string): ReadonlyMap<string, Versioned<ClusterTask>> {
    return this.#byService.get(id) ?? NOBODY;
  }

  /** Tasks that a node was given, ended ones among them. */
  tasksOfNode(id: string): ReadonlyMap<string, Versioned<ClusterTask>> {
    return this.#byNode.get(id) ?? NOBODY;
  }

  /** Containers of a node on attachable networks. */
  attachmentsOfNode(id: string): ReadonlyMap<string, Versioned<ClusterAttachment>> {
    return this.#attached.get(id) ?? NOBODY;
  }

  /** What changed since this was last asked. */
  takeTouched(): Touched {
    const touched = this.#touched;
    this.#touched = new Unseen();
    return touched;
  }

  /** Everything that there is, as what a stage sees that begins anew. */
  everything(): Touched {
    return {
      services: new Set([...this.services.keys(), ...this.#byService.keys()]),
      tasks: new Set(this.tasks.keys()),
      nodes: new Set(this.nodes.keys()),
      networks: new Set(this.networks.keys()),
      attachments: new Set(this.attachments.keys()),
      cluster: true,
    };
  }

  /** Follows the store; a task also touches its service. */
  apply(events: readonly StoreEvent[]): void {
    for (const { kind, id, object } of events) {
      switch (kind) {
        case KIND.cluster:
          // exempt(as): the store holds what this program wrote
          this.cluster = object?.value as Cluster | undefined;
          this.#touched.cluster = true;
          break;
        case KIND.node:
          put(this.nodes, id, object);
          this.#touched.nodes.add(id);
          break;
        case KIND.network:
          put(this.networks, id, object);
          this.#touched.networks.add(id);
          break;
        case KIND.service:
          put(this.services, id, object);
          this.#touched.services.add(id);
          break;
        case KIND.task:
          this.#applyTask(id, object);
          break;
        case KIND.attachment:
          this.#applyAttachment(id, object);
          break;
      }
    }
  }

  #applyAttachment(id: string, object: StoreEvent['object']): void {
    const before = this.attachments.get(id)?.value;
    if (before) leave(this.#attached, before.nodeId, id);
    put(this.attachments, id, object);
    const found = this.attachments.get(id);
    if (found) join(this.#attached, found.value.nodeId, found);
    this.#touched.attachments.add(id);
  }

  #applyTask(id: string, object: StoreEvent['object']): void {
    const before = this.tasks.get(id)?.value;
    if (before) {
      leave(this.#byService, before.serviceId, id);
      leave(this.#byNode, before.nodeId, id);
    }
    put(this.tasks, id, object);
    const task = this.tasks.get(id);
    if (task) {
      join(this.#byService, task.value.serviceId, task);
      if (task.value.nodeId !== '') join(this.#byNode, task.value.nodeId, task);
    }
    this.#touched.tasks.add(id);
    const serviceId = task?.value.serviceId ?? before?.serviceId;
    if (serviceId !== undefined) this.#touched.services.add(serviceId);
  }
}

function put<T>(map: Map<string, Versioned<T>>, id: string, object: StoreEvent['object']): void {
  // exempt(as): the store holds what this program wrote
  if (object) map.set(id, { version: object.version, value: object.value as T });
  else map.delete(id);
}
