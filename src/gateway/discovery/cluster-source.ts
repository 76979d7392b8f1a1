import { formatHostPort } from '../../model/address.ts';
import type { Discover } from '../../model/service.ts';
import { endpointSpec, type Source } from './source.ts';

type ClusterQuery = Extract<Discover, { cluster: unknown }>['cluster'];

/** Who serves what in the cluster that this host is of. */
export interface ClusterBackends {
  /**
   * A service's tasks, each with a name that no other ever has, on whichever host; undefined: the
   * cluster tells this host of no such service.
   */
  backendsOf(
    service: string,
  ): readonly { readonly name: string; readonly address: string }[] | undefined;
  /** Calls `changed` at every change, until what it returns is called. */
  follow(changed: () => void): () => void;
}

/** Endpoints from the tasks of a service. `backends` undefined: this host is of no cluster. */
export function clusterSource(
  { service, port }: ClusterQuery,
  backends: ClusterBackends | undefined,
): Source {
  let changed = true;
  let wake = () => {};
  const stop = backends?.follow(() => {
    changed = true;
    wake();
  });
  return {
    tellsChanges: true,
    local: true,
    exact: true,
    read: async (again) => {
      if (!backends) throw new Error('this daemon has no engine, and so is of no cluster');
      if (!changed && !again) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      changed = false;
      const specs = (backends.backendsOf(service) ?? []).map(({ name, address }) => ({
        ...endpointSpec(address, port),
        id: formatHostPort(name, port),
      }));
      return { specs, nextMs: 0 };
    },
    close: () => {
      stop?.();
      wake();
    },
  };
}
