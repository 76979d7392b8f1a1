import type { Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { NftTool } from '../../kernel/nft.ts';
import type { ApplyFailure, ApplyReport } from '../../link/agent-port.ts';
import type { ClusterIntent } from '../../model/cluster-intent.ts';
import type { IntentStore } from '../plane/intent-store.ts';
import type { AgentTools } from '../plane/tools.ts';
import type { Admissions } from './admissions.ts';
import { Mesh } from './mesh.ts';
import type { Overlays } from './overlays.ts';
import type { Vips } from './vips.ts';

/** How often everything is compared with the kernel. */
const LOOK_EVERY_MS = 30_000;

/** What a host's cluster needs of its kernel: overlays, services' addresses, the routing mesh. */
export class ClusterPlane {
  readonly #tools: AgentTools;
  readonly #host: IntentStore;
  readonly #overlays: Overlays;
  readonly #vips: Vips;
  readonly #admissions: Admissions;
  readonly #mesh: Mesh;
  readonly #degraded: (reason: string) => void;
  #intent: ClusterIntent | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #closed = false;

  constructor(
    tools: AgentTools,
    nft: NftTool,
    host: IntentStore,
    parts: {
      readonly overlays: Overlays;
      readonly vips: Vips;
      readonly admissions: Admissions;
    },
    degraded: (reason: string) => void,
  ) {
    this.#tools = tools;
    this.#host = host;
    this.#overlays = parts.overlays;
    this.#vips = parts.vips;
    this.#admissions = parts.admissions;
    this.#mesh = new Mesh(tools, nft);
    this.#degraded = degraded;
  }

  /** Takes all of it in place of what was there. */
  join(intent: ClusterIntent): Promise<ApplyReport> {
    return this.#queue(async () => {
      const first = this.#intent === undefined;
      this.#intent = intent;
      const failures = new Map<string, ApplyFailure>();
      await this.#pass(intent, first, failures);
      this.#schedule();
      return { failures: [...failures.values()] };
    });
  }

  /** The mesh knows the host's own networks, whose members are no clients of others. */
  async networksChanged(): Promise<void> {
    await this.#queue(async () => {
      const { tunnel, mesh } = this.#intent ?? {};
      if (!tunnel || !mesh) return;
      const failures = new Map<string, ApplyFailure>();
      await this.#mesh.update(tunnel, mesh, this.#host.networks.values(), false, failures);
    }).catch((error: unknown) => {
      this.#degraded(`the routing mesh could not be brought up to date: ${errorText(error)}`);
    });
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #pass(
    intent: ClusterIntent,
    whole: boolean,
    failures: Map<string, ApplyFailure>,
  ): Promise<string[]> {
    const mended: string[] = [];
    if (await this.#overlays.update(intent, whole, failures)) mended.push('overlays');
    for (const [id, message] of [
      ...(await this.#vips.replace(intent.vips, whole)),
      ...(await this.#admissions.replace(intent.admissions, whole)),
    ]) {
      failures.set(id, { kind: 'sandbox', id, message });
    }
    try {
      const networks = this.#host.networks.values();
      const { tunnel, mesh } = intent;
      if (await this.#mesh.update(tunnel, mesh, networks, whole, failures)) mended.push('the mesh');
    } catch (error) {
      const message = `the routing mesh cannot be set up: ${errorText(error)}`;
      for (const { id } of intent.mesh?.forwards ?? []) {
        failures.set(id, { kind: 'forward', id, message });
      }
    }
    return mended;
  }

  async #look(): Promise<void> {
    const intent = this.#intent;
    if (this.#closed || !intent) return;
    try {
      await this.#queue(async () => {
        const failures = new Map<string, ApplyFailure>();
        const mended = await this.#pass(intent, true, failures);
        if (mended.length > 0) {
          this.#degraded(`${mended.join(' and ')} repaired after a difference was found`);
        }
        for (const { kind, id, message } of failures.values()) {
          this.#degraded(`${kind} ${id}: ${message}`);
        }
      });
    } catch (error) {
      this.#degraded(`the cluster's networks could not be compared: ${errorText(error)}`);
    }
  }

  #schedule(): void {
    this.#timer?.cancel();
    this.#timer = this.#tools.clock.after(LOOK_EVERY_MS, async () => {
      await this.#look();
      if (!this.#closed) this.#schedule();
    });
  }

  /** Stops; what the kernel holds stays and works on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#last;
    await this.#vips.idle();
    await this.#mesh.close();
  }
}
