import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type {
  CarryFailure,
  KernelListener,
  KernelTarget,
  ListenerTraffic,
} from '../../model/kernel-listener.ts';
import { compilePlane, deadOf, type PlaneChoice, retired } from './compile.ts';
import { TrafficCounts } from './traffic-counts.ts';

const RETRY_MS = 1000;
/** How often the agent is told again; it lets go of a gateway that is silent for thrice as long. */
const RENEW_MS = 5000;
/** How long an agent may take to answer at first before that is told. */
const FIRST_CONTACT_MS = 3000;
const NO_AGENT = 'no agent is configured';
/** Removed endpoints whose flows are to be cut, in one service. */
const MAX_REMOVED = 1000;

/** The node agent as the gateway needs it. Methods reject while it is away. */
export interface KernelCarrier {
  /** Told whenever the connection to the agent is lost or is back. */
  onConnected: (up: boolean) => void;
  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]>;
  traffic(): Promise<readonly ListenerTraffic[]>;
}

/** What carries a listener now. */
export type PlaneState = {
  readonly plane: 'kernel' | 'user';
  /** Why it is not, or not to be, the kernel; empty when it is. */
  readonly reason: string;
};

export type KernelPlaneDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  /** Undefined: no agent is configured. */
  readonly carrier: KernelCarrier | undefined;
};

/**
 * Has the agent carry the listeners that the kernel can carry. It follows the same states as the
 * workers, whose sockets stay open behind it. While the agent is away the kernel keeps what it has.
 */
export class KernelPlane {
  readonly #deps: KernelPlaneDeps;
  readonly #carrier: KernelCarrier | undefined;
  readonly #counts: TrafficCounts;
  readonly #removed = new Map<string, Map<string, KernelTarget>>();
  /** Services that the kernel has had flows of. */
  readonly #services = new Set<string>();
  #config: GatewayConfig | undefined;
  #states: ReadonlyMap<string, ServiceState> = new Map();
  #choices: ReadonlyMap<string, PlaneChoice> = new Map();
  /** What the agent was last told and has confirmed; survives the agent. */
  #held: ReadonlyMap<string, KernelListener> = new Map();
  #failures: ReadonlyMap<string, string> = new Map();
  #fault = 'the agent has not answered yet';
  #told = '';
  #counting = false;
  #up = false;
  #running: Promise<void> | undefined;
  #reading: Promise<void> | undefined;
  #due = false;
  #retry: Timer | undefined;
  #left = false;

  constructor(deps: KernelPlaneDeps) {
    this.#deps = deps;
    this.#carrier = deps.carrier;
    this.#counts = new TrafficCounts(deps.metrics);
    if (!this.#carrier) return;
    deps.metrics.cell('sluice_kernel_agent_connected').value = 0;
    this.#carrier.onConnected = (up) => this.#connected(up);
    this.#retry = deps.clock.after(FIRST_CONTACT_MS, () => {
      if (!this.#up) deps.logger.warn('the agent does not answer: sockets carry every listener');
    });
  }

  /** Takes a configuration; states of services that it does not name are forgotten. */
  configure(config: GatewayConfig): void {
    this.#config = config;
    for (const name of this.#removed.keys()) {
      if (!(name in config.services)) this.#removed.delete(name);
    }
    for (const name of this.#services) {
      if (!(name in config.services)) this.#services.delete(name);
    }
    this.#counts.keep(Object.keys(config.listeners));
    this.#schedule();
  }

  /** Takes the states of all services after that of one has changed. */
  update(states: ReadonlyMap<string, ServiceState>, changed: ServiceState): void {
    this.#noteRemoved(this.#states.get(changed.service), changed);
    this.#states = new Map(states);
    this.#schedule();
  }

  /** What carries a listener now, and why it is not the kernel. */
  stateOf(listener: string): PlaneState {
    const choice = this.#choices.get(listener);
    const held = (this.#held.get(listener)?.slots.length ?? 0) > 0;
    // While the agent is away the kernel may carry what it is not to carry any more.
    if (held) return { plane: 'kernel', reason: choice?.reason ?? '' };
    const reason = choice?.reason ?? this.#failures.get(listener) ?? this.#fault;
    return { plane: 'user', reason: this.#carrier ? reason : (choice?.reason ?? NO_AGENT) };
  }

  /** Whether the agent answers; undefined when none is configured. */
  get connected(): boolean | undefined {
    return this.#carrier ? this.#up : undefined;
  }

  /** Flows that the kernel has open to an endpoint of a service, as of the last `refresh`. */
  activeOn(service: string, endpoint: string): number {
    const spec = this.#states.get(service)?.endpoints.find(({ id }) => id === endpoint);
    if (!spec || !('host' in spec.address)) return 0;
    const { host, port } = spec.address;
    let flows = 0;
    for (const [name, listener] of Object.entries(this.#config?.listeners ?? {})) {
      if (listener.service === service) flows += this.#counts.active(name, host, port);
    }
    return flows;
  }

  /** Brings the series up to date; what cannot be read keeps its last values. */
  refresh(): Promise<void> {
    const carrier = this.#carrier;
    if (!carrier || this.#held.size === 0) return Promise.resolve();
    this.#reading ??= carrier
      .traffic()
      // The loss of the connection is told where it is noticed.
      .then(
        (traffic) => this.#take(traffic),
        () => {},
      )
      .finally(() => {
        this.#reading = undefined;
      });
    return this.#reading;
  }

  #take(traffic: readonly ListenerTraffic[]): void {
    const { metrics } = this.#deps;
    const listeners = this.#config?.listeners ?? {};
    this.#counts.take(traffic, listeners);
    for (const name of this.#held.keys()) {
      const service = listeners[name]?.service;
      if (service !== undefined) this.#services.add(service);
    }
    for (const service of this.#services) {
      let active = 0;
      for (const { id } of this.#states.get(service)?.endpoints ?? []) {
        const flows = this.activeOn(service, id);
        metrics.cell('sluice_endpoint_active', service, id).value = flows;
        active += flows;
      }
      metrics.cell('sluice_service_active', service).value = active;
    }
  }

  /** Gives everything back to the sockets: this gateway ends. */
  async withdraw(): Promise<void> {
    this.leave();
    await this.#running;
    if (this.#held.size === 0) return;
    await this.#carrier?.carry([]).catch((error: unknown) => {
      const why = errorText(error);
      this.#deps.logger.warn('the kernel still carries listeners: the agent is away', { why });
    });
  }

  /** Leaves everything as it is, to a successor. */
  leave(): void {
    this.#left = true;
    this.#retry?.cancel();
  }

  #connected(up: boolean): void {
    this.#up = up;
    this.#deps.metrics.cell('sluice_kernel_agent_connected').value = up ? 1 : 0;
    if (up) {
      this.#told = '';
      this.#schedule();
      return;
    }
    this.#fault = 'the agent does not answer';
    const kept = this.#held.size;
    if (!this.#left) this.#deps.logger.warn('the agent is away', { listenersKept: kept });
  }

  /** A task that is gone takes its flows along; others may finish what they do. */
  #noteRemoved(before: ServiceState | undefined, now: ServiceState): void {
    const discover = this.#config?.services[now.service]?.discover;
    if (!discover || !('tasks' in discover)) return;
    const removed = this.#removed.get(now.service) ?? new Map<string, KernelTarget>();
    const there = new Set(now.endpoints.map(({ id }) => id));
    for (const { id, address } of before?.endpoints ?? []) {
      if (there.has(id) || !('host' in address)) continue;
      removed.set(id, { address: address.host, port: address.port });
    }
    for (const id of there) removed.delete(id);
    for (const id of [...removed.keys()].slice(0, -MAX_REMOVED)) removed.delete(id);
    this.#removed.set(now.service, removed);
  }

  /** Changes of one turn are told together. */
  #schedule(): void {
    const carrier = this.#carrier;
    if (!carrier || this.#left) {
      if (this.#config) this.#choices = compilePlane(this.#config, this.#states);
      return;
    }
    this.#due = true;
    this.#running ??= new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#run(carrier))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #run(carrier: KernelCarrier): Promise<void> {
    while (this.#due && !this.#left && this.#config) {
      this.#due = false;
      this.#choices = compilePlane(this.#config, this.#states);
      if (!this.#up) return;
      const listeners = this.#wanted(this.#config);
      const text = JSON.stringify(listeners);
      if (text === this.#told) continue;
      try {
        this.#took(listeners, await carrier.carry(listeners));
        if (!this.#counting) this.#counts.begin(await carrier.traffic());
        this.#counting = true;
        this.#told = text;
        this.#renewLater();
      } catch (error) {
        this.#failed(errorText(error));
        return;
      }
    }
  }

  #wanted(config: GatewayConfig): KernelListener[] {
    const withRemoved = (listener: KernelListener): KernelListener => {
      const service = config.listeners[listener.name]?.service ?? '';
      const removed = [...(this.#removed.get(service)?.values() ?? [])];
      return removed.length === 0
        ? listener
        : { ...listener, dead: [...listener.dead, ...removed] };
    };
    return [...this.#choices].flatMap(([name, { kernel }]) => {
      if (kernel) return [withRemoved(kernel)];
      const held = this.#held.get(name);
      if (!held) return [];
      return [withRemoved(retired(held, deadOf(config, this.#states, name)))];
    });
  }

  #took(listeners: readonly KernelListener[], failures: readonly CarryFailure[]): void {
    const { logger } = this.#deps;
    this.#fault = '';
    const failed = new Map(failures.map(({ name, message }) => [name, message]));
    for (const [name, why] of failed) {
      if (this.#failures.get(name) !== why) {
        logger.warn('the kernel cannot carry a listener: sockets do', { listener: name, why });
      }
    }
    this.#failures = failed;
    this.#held = new Map(
      listeners.map((one) => [one.name, failed.has(one.name) ? retired(one, one.dead) : one]),
    );
    this.#counts.planes(Object.keys(this.#config?.listeners ?? {}), (name) => this.stateOf(name));
  }

  #renewLater(): void {
    this.#retry?.cancel();
    if (this.#left) return;
    this.#retry = this.#deps.clock.after(RENEW_MS, () => {
      this.#told = '';
      this.#schedule();
    });
  }

  #failed(why: string): void {
    this.#deps.metrics.cell('sluice_kernel_apply_failures_total').value++;
    if (this.#fault !== why && this.#fault === '') {
      this.#deps.logger.warn('the agent has not taken a change: the kernel keeps what it has', {
        why,
      });
    }
    this.#fault = why;
    this.#retry?.cancel();
    this.#retry = this.#deps.clock.after(RETRY_MS, () => this.#schedule());
  }
}
