import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { KIND, type ServicePort } from '../../model/cluster.ts';
import type { CatalogEntry, ServiceCatalog } from '../../store/catalog.ts';
import type { Store } from '../../store/store.ts';
import { clusterOf, findNode, servicesOf, tasksOf } from './cluster-state.ts';

/** Changes within this time are written at once. */
const GATHER_MS = 500;
/** What somebody else took away is back after it. */
const AGAIN_MS = 60_000;
const RETRY_MS = 5000;
const KINDS: readonly string[] = [KIND.node, KIND.service, KIND.task];

/** Every published port of every task that serves, at its own host. */
function catalogEntries(store: Store): CatalogEntry[] {
  const services = new Map(servicesOf(store).map(({ value }) => [value.id, value]));
  return tasksOf(store).flatMap(({ value: task }) => {
    const [service, node] = [services.get(task.serviceId), findNode(store, task.nodeId)];
    if (!service || !node || node.status === 'down' || !task.report.serving) return [];
    const ports = [
      ...service.ports.filter(({ mode }) => mode === 'ingress'),
      ...task.report.hostPorts,
    ];
    const about = { service: service.id, task: task.id, node: node.id };
    return ports.flatMap((port: ServicePort): CatalogEntry[] => {
      if (port.publishedPort === undefined) return [];
      return [
        {
          id: `${task.id}:${port.transport}:${port.publishedPort}`,
          ...{ service: service.name, address: node.address, port: port.publishedPort },
          tags: [port.transport, ...(port.name === '' ? [] : [port.name])],
          meta: { ...about, target: String(port.targetPort) },
          node: { name: `sluice-${node.id}`, address: node.address },
        },
      ];
    });
  });
}

/** Keeps a catalog like the state while a manager leads; the returned function ends it. */
export function keepCatalog(
  store: Store,
  catalog: ServiceCatalog,
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): () => void {
  let timer: Timer | undefined;
  let writing = false;
  let again = false;
  let ended = false;
  const write = async () => {
    const owner = clusterOf(store)?.value.id;
    if (owner === undefined) return AGAIN_MS;
    try {
      await catalog.replace(owner, catalogEntries(store));
      return AGAIN_MS;
    } catch (error) {
      logger.warn('the catalog of services is behind', { reason: errorText(error) });
      return RETRY_MS;
    }
  };
  const later = (delayMs: number) => {
    timer?.cancel();
    timer = clock.after(delayMs, async () => {
      writing = true;
      again = false;
      const next = await write();
      writing = false;
      if (!ended) later(again ? GATHER_MS : next);
    });
  };
  const unwatch = store.watch((events) => {
    if (!events.some(({ kind }) => KINDS.includes(kind))) return;
    if (writing) again = true;
    else later(GATHER_MS);
  });
  later(GATHER_MS);
  return () => {
    ended = true;
    unwatch();
    timer?.cancel();
  };
}
