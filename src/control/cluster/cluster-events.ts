import {
  type ClusterFile,
  type ClusterNetwork,
  type ClusterNode,
  type ClusterService,
  KIND,
} from '../../model/cluster.ts';
import type { Store, StoreEvent } from '../../store/store.ts';
import type { EngineEvent, EventLog } from '../event-log.ts';

/** What events tell of an object: one that tells the same has not changed for them. */
type Told = {
  readonly type: EngineEvent['type'];
  readonly attributes: Readonly<Record<string, string>>;
  readonly state: string;
};

function told({ kind, object }: Pick<StoreEvent, 'kind' | 'object'>): Told | undefined {
  // exempt(as): the store holds what this program wrote
  const value = object?.value as never;
  switch (object && kind) {
    case KIND.service: {
      const { name, labels, spec, progress }: ClusterService = value;
      const state = JSON.stringify([labels, spec, progress?.state]);
      const more = progress && { 'updatestate.new': progress.state };
      return { type: 'service', attributes: { name, ...more }, state };
    }
    case KIND.node: {
      const node: ClusterNode = value;
      const { role, availability, status, labels } = node;
      const name = node.name || node.description.hostname;
      const attributes = { name, role, availability, state: status };
      return { type: 'node', attributes, state: JSON.stringify([attributes, labels]) };
    }
    case KIND.network: {
      const { name, spec, labels }: ClusterNetwork = value;
      const attributes = { name, type: spec.driver };
      return { type: 'network', attributes, state: JSON.stringify(labels) };
    }
    case KIND.file: {
      const { name, kind: type, labels }: ClusterFile = value;
      return { type, attributes: { name }, state: JSON.stringify(labels) };
    }
    default:
      return undefined;
  }
}

/**
 * Tells what is made, changed and removed in a cluster, as its store tells it, until that is closed;
 * what nobody ordered, such as an allocated address, is no event.
 */
export function tellEvents(store: Store, events: EventLog): void {
  const known = new Map<string, Told>();
  for (const kind of Object.values(KIND)) {
    for (const object of store.list(kind)) {
      const found = told({ kind, object });
      if (found) known.set(`${kind} ${object.id}`, found);
    }
  }
  store.watch((changes) => {
    for (const { kind, id, object } of changes) {
      const key = `${kind} ${id}`;
      const [before, now] = [known.get(key), told({ kind, object })];
      const { type, attributes } = now ?? before ?? {};
      if (type === undefined || attributes === undefined) continue;
      if (now) known.set(key, now);
      else known.delete(key);
      if (before && now && before.state === now.state) continue;
      const action = before ? (now ? 'update' : 'remove') : 'create';
      events.emit(type, action, id, attributes, 'swarm');
    }
  });
}
