import type { Logger } from '../base/logger.ts';
import type { LocalHost } from '../control/cluster/compile/cluster-intent.ts';
import { type HttpMesh, httpMesh, listenerShare } from '../control/cluster/compile/http-mesh.ts';
import type { ClusterBackends } from '../gateway/discovery/cluster-source.ts';
import type { NodeAssignment } from '../model/cluster.ts';
import { type GatewayConfig, gatewayConfig } from '../model/gateway-config.ts';
import { listener } from '../model/listener.ts';

const NO_MESH: HttpMesh = {
  ...{ services: {}, rules: [], certificates: [], files: {}, faults: [], backends: {} },
};

/** What of a mesh is configuration: whatever but the addresses of tasks. */
export type ClusterPart = Omit<HttpMesh, 'backends'>;

/**
 * What the gateway in this daemon has of its host's cluster. The node tells it; configuration and
 * discovery read it.
 */
export class ClusterEdge implements ClusterBackends {
  readonly #followers = new Set<() => void>();
  #mesh = NO_MESH;
  #part: ClusterPart = NO_MESH;
  #faults: readonly string[] = [];
  #told = new Set<string>();
  #wanted = false;
  /** Called when `wanted` has changed. */
  onWanted: () => void = () => {};
  /** Has the gateway take in what has changed; resolves when it has. */
  take: () => Promise<void> = async () => {};

  /** Whether the gateway takes requests to services of the cluster. */
  get wanted(): boolean {
    return this.#wanted;
  }

  set wanted(wanted: boolean) {
    if (this.#wanted === wanted) return;
    this.#wanted = wanted;
    this.onWanted();
  }

  /** Everything that it knows, for the daemon that follows this one. */
  get mesh(): HttpMesh {
    return this.#mesh;
  }

  /** The same object as long as nothing of it has changed. */
  get part(): ClusterPart {
    return this.#part;
  }

  /** What the daemon before this one knew. */
  inherit(mesh: HttpMesh): void {
    this.#mesh = mesh;
    this.#part = partOf(mesh);
  }

  /** Resolves when nothing new goes to a task that does not serve any more. */
  async show(assignment: NodeAssignment, host: LocalHost | undefined): Promise<void> {
    this.#mesh = httpMesh(assignment, host, this.#mesh.files);
    const part = partOf(this.#mesh);
    if (JSON.stringify(part) !== JSON.stringify(this.#part)) this.#part = part;
    for (const changed of this.#followers) changed();
    await this.take();
  }

  backendsOf(service: string): ReturnType<ClusterBackends['backendsOf']> {
    return this.#mesh.backends[service];
  }

  follow(changed: () => void): () => void {
    this.#followers.add(changed);
    return () => this.#followers.delete(changed);
  }

  /** A file of the configuration that is kept in memory only. */
  readFile(name: string): string | undefined {
    return this.#mesh.files[name];
  }

  /**
   * A configuration with what the cluster adds to it: services, and to the listeners that ask for
   * them routes and certificates. What files name stays theirs. `part` is what `part` gave.
   */
  extend(written: GatewayConfig, part: ClusterPart): GatewayConfig {
    const listeners = Object.entries(written.listeners);
    if (!listeners.some(([, { cluster }]) => cluster !== undefined)) return written;
    const taken = Object.keys(part.services).filter((name) => name in written.services);
    const faults = [
      ...part.faults,
      ...taken.map((name) => `service ${name} of the cluster: a file has one of that name`),
    ];
    const extended = listeners.map(([name, one]) => {
      if (one.cluster === undefined) return [name, one] as const;
      const share = listenerShare(part, one.protocol, one.cluster);
      faults.push(...share.faults.map((fault) => `listener ${name}: ${fault}`));
      const routes = listener.shape.routes.parse(share.routes);
      const certificates = [...(one.tls?.certificates ?? []), ...share.certificates];
      const tls = one.tls && { ...one.tls, certificates };
      return [name, { ...one, routes: [...one.routes, ...routes], tls }] as const;
    });
    this.#faults = faults;
    const services = gatewayConfig.shape.services.parse(part.services);
    return {
      ...written,
      listeners: Object.fromEntries(extended),
      services: { ...services, ...written.services },
    };
  }

  /** Tells what the last configuration lacks, each fault once as long as it lasts. */
  complain(logger: Logger): void {
    for (const what of this.#faults) {
      if (!this.#told.has(what)) logger.warn('the cluster asks for what is left out', { what });
    }
    this.#told = new Set(this.#faults);
  }
}

/** Whether a configuration has the gateway take requests to services of the cluster. */
export function wantsCluster({ listeners, services }: GatewayConfig): boolean {
  const open = Object.values(listeners).some(({ cluster }) => cluster !== undefined);
  const names = Object.values(services).some(({ discover }) => discover && 'cluster' in discover);
  return open || names;
}

function partOf({ backends: _, ...part }: HttpMesh): ClusterPart {
  return part;
}
