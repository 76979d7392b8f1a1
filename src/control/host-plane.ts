import { SluiceError } from '../base/errors.ts';
import type { AgentPort, ApplyFailure, ApplyReport } from '../link/agent-port.ts';
import type { ClusterIntent } from '../model/cluster-intent.ts';
import type { Container } from '../model/container.ts';
import type { HostDelta, HostIntent, NameRecord } from '../model/host-intent.ts';
import type { Network } from '../model/network.ts';
import {
  forwardIntents,
  hostIntent,
  networkIntent,
  networkNames,
  sandboxIntent,
} from './compile.ts';
import { linkersOf } from './host-files.ts';
import type { CompileContext } from './topology.ts';

/** The host refused a part of what was asked for. */
export class ApplyError extends SluiceError {
  readonly failures: readonly ApplyFailure[];

  constructor(failures: readonly ApplyFailure[]) {
    super('E_HOST_FAILED', failures.map(({ message }) => message).join('; '));
    this.failures = failures;
  }
}

/** Throws for failures of the ids that were asked for; those of others are told elsewhere. */
function check({ failures }: ApplyReport, ids: ReadonlySet<string>): void {
  const own = failures.filter(({ id }) => ids.has(id));
  if (own.length > 0) throw new ApplyError(own);
}

/** Brings the kernel of the host to what the registry says, object by object or as a whole. */
export class HostPlane {
  readonly context: CompileContext;
  readonly #agent: AgentPort;
  /** What the agent shows of the cluster, as text; empty: that is not known. */
  #joined = '';

  constructor(context: CompileContext, agent: AgentPort) {
    this.context = context;
    this.#agent = agent;
  }

  /** Puts everything in place and takes away what is not wanted. */
  async sync(): Promise<readonly ApplyFailure[]> {
    this.#joined = '';
    const failures = await this.#join();
    const report = await this.#agent.sync(this.#withRules(hostIntent(this.context)));
    return [...failures, ...report.failures];
  }

  /**
   * Takes what the cluster adds, in place of what it added before. Throws when the kernel refuses a
   * part.
   */
  async join(intent: ClusterIntent, names: readonly NameRecord[]): Promise<void> {
    const { cluster, registry } = this.context;
    const before = cluster.names;
    this.hold(intent, names);
    const failures = await this.#join();
    const ids = [...new Set([...before.keys(), ...cluster.names.keys()])].filter(
      (id) => JSON.stringify(before.get(id)) !== JSON.stringify(cluster.names.get(id)),
    );
    const networks = ids.flatMap((id) => registry.findNetwork(id) ?? []);
    const put = { names: networks.flatMap((network) => networkNames(network, this.context)) };
    if (ids.length > 0) await this.#agent.apply({ put, remove: { names: ids } });
    if (failures.length > 0) throw new ApplyError(failures);
  }

  /** As `join`, to be shown by the next `sync`. */
  hold(intent: ClusterIntent, names: readonly NameRecord[]): void {
    const { cluster } = this.context;
    cluster.intent = this.context.options.rules ? intent : { ...intent, mesh: undefined };
    cluster.names = Map.groupBy(names, ({ network }) => network);
  }

  async #join(): Promise<readonly ApplyFailure[]> {
    const { intent } = this.context.cluster;
    const text = intent ? JSON.stringify(intent) : '';
    if (!intent || text === this.#joined) return [];
    this.#joined = '';
    const { failures } = await this.#agent.join(intent);
    if (failures.length === 0) this.#joined = text;
    return failures;
  }

  /** Throws when the kernel refuses. */
  async addNetwork(network: Network): Promise<void> {
    const intent = networkIntent(network, this.context.options);
    if (!intent) return;
    const report = await this.#agent.apply({ put: { networks: [intent] }, remove: {} });
    check(report, new Set([network.id]));
  }

  async removeNetwork(id: string): Promise<void> {
    const report = await this.#agent.apply({ put: {}, remove: { networks: [id], names: [id] } });
    check(report, new Set([id]));
  }

  /**
   * Brings sandbox, forwards and names of a container up to date. `before`: the value whose
   * forwards and networks may have gone. Throws when the kernel refuses.
   */
  async refresh(container: Container, before: Container = container): Promise<void> {
    const delta = this.#delta(container, before);
    const attachments = container.attachments.flatMap(({ active }) => active?.id ?? []);
    const forwards = (delta.put.forwards ?? []).map(({ id }) => id);
    check(await this.#agent.apply(delta), new Set([container.id, ...attachments, ...forwards]));
  }

  /** As `refresh` for a container that no longer has a sandbox; leftovers are the agent's. */
  async withdraw(container: Container, before: Container): Promise<void> {
    await this.#agent.apply(this.#delta(container, before));
  }

  #delta(container: Container, before: Container): HostDelta {
    const { registry } = this.context;
    // Who links to it has its names and ports.
    const sandboxes = [container, ...linkersOf(container, this.context)].flatMap(
      (one) => sandboxIntent(one, this.context) ?? [],
    );
    const forwards = this.context.options.rules ? forwardIntents(container, this.context) : [];
    const kept = new Set(forwards.map(({ id }) => id));
    const old = forwardIntents(before, this.context).map(({ id }) => id);
    const touched = [...container.attachments, ...before.attachments];
    const ids = [...new Set(touched.map(({ networkId }) => networkId))];
    const networks = ids.flatMap((id) => registry.findNetwork(id) ?? []);
    return {
      put: {
        sandboxes,
        forwards,
        names: networks.flatMap((network) => networkNames(network, this.context)),
      },
      remove: {
        sandboxes: container.sandbox || !before.sandbox ? [] : [container.id],
        forwards: old.filter((id) => !kept.has(id)),
        names: ids,
      },
    };
  }

  #withRules(intent: HostIntent): HostIntent {
    return this.context.options.rules ? intent : { ...intent, forwards: [] };
  }
}
