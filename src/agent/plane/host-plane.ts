import type { Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { NftTool } from '../../kernel/nft.ts';
import type { ApplyFailure, ApplyReport } from '../../link/agent-port.ts';
import type { ForwardIntent, HostDelta, HostIntent } from '../../model/host-intent.ts';
import type { OverlayPorts } from '../cluster/overlays.ts';
import { keepDockerRule } from './docker-user.ts';
import { Firewall } from './firewall.ts';
import { FlowCutter, staleFlows } from './flows.ts';
import { HostElements } from './host-elements.ts';
import { hostTable } from './host-table.ts';
import { type Change, IntentStore } from './intent-store.ts';
import { LinkReconciler } from './links.ts';
import { Reservations } from './reservations.ts';
import type { AgentTools } from './tools.ts';
import { type ChangedParts, KernelWatch } from './watch.ts';

/** How often everything is compared with the kernel, whether or not it told of a change. */
const FULL_PASS_EVERY_MS = 30_000;

type Forwards = ReadonlyMap<string, ForwardIntent>;

/** The resolver's side of a sandbox, as the plane needs it. */
export interface SandboxServices {
  /** Brings the resolvers in line with the intent; returns failures by sandbox. */
  update(intent: IntentStore, change: Change | undefined): Promise<ReadonlyMap<string, string>>;
  /** Lets go of a namespace by its name. */
  release(netns: string): Promise<void>;
  close(): void;
}

/**
 * The kernel of one host: takes the intent, makes it so, and keeps it so. Orders run one after
 * another; each reads what is there, and changes what differs.
 */
export class HostPlane {
  readonly #tools: AgentTools;
  readonly #intent = new IntentStore();
  readonly #links: LinkReconciler;
  readonly #firewall: Firewall;
  readonly #elements = new HostElements();
  readonly #reservations: Reservations;
  readonly #services: SandboxServices;
  readonly #watch: KernelWatch;
  readonly #degraded: (reason: string) => void;
  #last: Promise<unknown> = Promise.resolve();
  readonly #flows: FlowCutter;
  #timer: Timer | undefined;
  #synced = false;
  #bridged = false;
  #closed = false;

  constructor(
    tools: AgentTools,
    nft: NftTool,
    services: SandboxServices,
    overlays: OverlayPorts,
    degraded: (reason: string) => void,
  ) {
    this.#tools = tools;
    this.#services = services;
    this.#degraded = degraded;
    this.#flows = new FlowCutter(tools);
    this.#links = new LinkReconciler(tools, this.#intent, overlays, (netns) =>
      services.release(netns),
    );
    this.#firewall = new Firewall(nft, hostTable(tools.naming.table));
    this.#reservations = new Reservations(tools.exec);
    this.#watch = new KernelWatch(
      tools,
      (pid) => nft.ran(pid),
      (parts) => this.#look('host', parts, 'an event of the kernel'),
    );
  }

  /** The intent as it was last given; read only. */
  get intent(): IntentStore {
    return this.#intent;
  }

  sync(intent: HostIntent): Promise<ApplyReport> {
    return this.#queue(async () => {
      const change = this.#intent.replace(intent);
      const report = await this.#pass(change, true);
      if (!this.#synced) {
        this.#synced = true;
        this.#watch.start();
        this.#schedule();
      }
      return report;
    });
  }

  apply(delta: HostDelta): Promise<ApplyReport> {
    return this.#queue(() => this.#pass(this.#intent.merge(delta), false));
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /** `whole`: everything is read from the kernel, not only what the change touched. */
  async #pass(change: Change, whole: boolean): Promise<ApplyReport> {
    const failures = new Map<string, ApplyFailure>();
    await this.#flows.settled(change.newForwards);
    const usable = await this.#reserve(failures);
    const scope = whole ? { ...change, sandboxes: this.#every() } : change;
    const names = () => this.#resolve(whole ? undefined : change, failures);
    const linked = whole || change.networks || change.sandboxes.size > 0;
    const load = () => this.#load(usable, whole, failures);
    // Traffic comes last, since what is sent to links that are not there yet is sent again after a
    // second only; and it goes first.
    const comes = change.newForwards.length > 0;
    const links: Promise<unknown> = linked
      ? this.#links.reconcile(scope, failures, names)
      : names();
    await Promise.all([links, comes ? links.then(load) : load(), this.#makeRoom(whole)]);
    this.#reservations.serve();
    this.#flows.cut(staleFlows(change, this.#intent.forwards));
    return { failures: [...failures.values()] };
  }

  #every(): Set<string> {
    return new Set(this.#intent.sandboxes.keys());
  }

  async #reserve(failures: Map<string, ApplyFailure>): Promise<Forwards> {
    const refused = await this.#reservations.update(this.#intent.forwards);
    for (const [id, message] of refused) failures.set(id, { kind: 'forward', id, message });
    if (refused.size === 0) return this.#intent.forwards;
    return new Map([...this.#intent.forwards].filter(([id]) => !refused.has(id)));
  }

  async #load(
    forwards: Forwards,
    read: boolean,
    failures: Map<string, ApplyFailure>,
  ): Promise<boolean> {
    try {
      const { networks, sandboxes } = this.#intent;
      const change = this.#elements.update({ networks, forwards, sandboxes });
      const { content } = this.#elements;
      const outcome = read
        ? await this.#firewall.verify(content, change)
        : await this.#firewall.update(content, change);
      return outcome !== 'same';
    } catch (error) {
      const message = errorText(error);
      for (const id of forwards.keys()) failures.set(id, { kind: 'forward', id, message });
      for (const { id, driver } of this.#intent.networks.values()) {
        if (driver === 'bridge') failures.set(id, { kind: 'network', id, message });
      }
      return false;
    }
  }

  /** Lets other firewalls pass what ours accepts, as long as there is something of ours. */
  async #makeRoom(always: boolean): Promise<void> {
    const bridged = [...this.#intent.networks.values()].some(({ driver }) => driver === 'bridge');
    if (!always && bridged === this.#bridged) return;
    this.#bridged = bridged;
    await keepDockerRule(this.#tools.exec, bridged);
  }

  async #resolve(change: Change | undefined, failures: Map<string, ApplyFailure>) {
    for (const [id, message] of await this.#services.update(this.#intent, change)) {
      if (!failures.has(id)) failures.set(id, { kind: 'sandbox', id, message });
    }
  }

  /** Compares parts of the host's side, or of everything, with the kernel and mends them. */
  async #look(scope: 'host' | 'all', parts: ChangedParts, cause: string): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#queue(async () => {
        const failures = new Map<string, ApplyFailure>();
        const usable = await this.#reserve(failures);
        const names = () => this.#resolve(undefined, failures);
        const links = parts.links && (await this.#links.reconcile(scope, failures, names));
        const table = await this.#load(usable, parts.table, failures);
        this.#reservations.serve();
        await this.#makeRoom(scope === 'all');
        const mended = [links ? 'links' : [], table ? 'the firewall table' : []].flat();
        if (mended.length > 0) this.#degraded(`${mended.join(' and ')} repaired after ${cause}`);
        for (const { kind, id, message } of failures.values()) {
          this.#degraded(`${kind} ${id}: ${message}`);
        }
      });
    } catch (error) {
      this.#degraded(`the kernel could not be compared: ${errorText(error)}`);
    }
  }

  #schedule(): void {
    this.#timer = this.#tools.clock.after(FULL_PASS_EVERY_MS, async () => {
      await this.#look('all', { links: true, table: true }, 'a difference was found');
      if (!this.#closed) this.#schedule();
    });
  }

  /** Stops; what the kernel holds stays and works on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#watch.close();
    await this.#last;
    await this.#flows.idle();
    this.#reservations.close();
    this.#services.close();
  }
}
