import type { Clock, Timer } from '../../base/clock.ts';
import type { Rng } from '../../base/rng.ts';
import { AgentOrders } from '../../health/agent-orders.ts';
import { RiseFall, type RiseFallOptions, startOffset } from '../../health/rise-fall.ts';
import type { AdminState, EndpointSpec, EndpointState } from '../../model/endpoint-state.ts';
import type { AgentCheck, HealthCheck } from '../../model/health-check.ts';
import type { AgentAnswer } from '../../net/probes/agent-probe.ts';
import type { Probe, ProbeResult } from '../../net/probes/probe.ts';
import { AgentWatch, type AgentWatchEvents } from './agent-watch.ts';
import { CheckLog, type CheckReport } from './check-log.ts';

const MAX_FAST_INTERVAL_MS = 250;
const MAX_DOWN_INTERVAL_MS = 500;

/** What a watched endpoint tells. */
export type WatchEvents = {
  checked(ok: boolean): void;
  changed(to: 'up' | 'down', reason: string): void;
  /** An agent was asked. */
  asked(kind: AgentAnswer['kind']): void;
  /** Weight, limit or reason changed, health did not. */
  adjusted(): void;
  /** Checks show that what live traffic met is over. */
  recovered(): void;
};

function timingOf(check: HealthCheck): RiseFallOptions {
  const { rise, fall, initialState, interval } = check;
  return {
    rise,
    fall,
    initialState,
    interval,
    fastInterval: check.fastInterval ?? Math.min(interval, MAX_FAST_INTERVAL_MS),
    downInterval: check.downInterval ?? Math.min(interval, MAX_DOWN_INTERVAL_MS),
  };
}

/** One endpoint with its active check. */
export class WatchedEndpoint {
  spec: EndpointSpec;
  admin: AdminState = 'ready';
  /** An operator's override of the weight. */
  weight: number | undefined;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #events: WatchEvents;
  readonly #log: CheckLog;
  #agent: AgentWatch | undefined;
  #machine: RiseFall | undefined;
  #check: HealthCheck | undefined;
  #probe: Probe | undefined;
  #timer: Timer | undefined;
  #running = false;
  #suspected = false;
  #reason = '';
  #ejected = false;
  #ejectedReason = '';
  #upSince = 0;
  /** Good checks in a row since it was put aside. */
  #passes = 0;
  /** Counts changes of the check, so that a result of an earlier one is not taken. */
  #epoch = 0;

  constructor(spec: EndpointSpec, clock: Clock, rng: Rng, events: WatchEvents) {
    this.spec = spec;
    this.#clock = clock;
    this.#rng = rng;
    this.#events = events;
    this.#log = new CheckLog(clock.now());
  }

  /** What its checks met; downtime is that by checks and live traffic, not by orders. */
  get checks(): CheckReport {
    const now = this.#clock.now();
    this.#log.state(this.#serves, now);
    const { rise, fall } = this.#check ?? {};
    const against = this.#machine?.against ?? 0;
    return this.#log.report(now, { running: this.#running, rise, fall, against });
  }

  get #serves(): boolean {
    return this.#machine?.state !== 'down' && !this.#ejected;
  }

  get state(): EndpointState {
    const orders = this.#agent?.orders;
    return {
      ...this.spec,
      weight: this.weight ?? orders?.weight(this.spec.weight) ?? this.spec.weight,
      maxConnections: orders?.maxConnections(this.spec.maxConnections) ?? this.spec.maxConnections,
      admin: this.admin,
      agent: orders?.state,
      check: this.#machine?.state ?? 'up',
      ejected: this.#ejected,
      reason: this.#why(orders),
      upSince: this.#upSince,
    };
  }

  /** Asks its agent from now on as `check` says, or none. */
  setAgent(check: AgentCheck | undefined): void {
    const orders = this.#agent?.orders ?? new AgentOrders();
    this.#agent?.close();
    this.#agent =
      check && new AgentWatch(check, orders, this.#clock, this.#rng, this.#agentEvents());
  }

  #why(orders: AgentOrders | undefined): string {
    if (orders?.reason) return orders.reason;
    return this.#ejected ? `live traffic: ${this.#ejectedReason}` : this.#reason;
  }

  #agentEvents(): AgentWatchEvents {
    return {
      target: () => (this.admin === 'maint' ? undefined : this.spec.address),
      answered: (kind) => this.#events.asked(kind),
      changed: (before) => {
        const orders = this.#agent?.orders;
        if (!orders) return;
        const { state, reason } = orders;
        if (state === before) {
          this.#events.adjusted();
          return;
        }
        if (state === 'ready') this.#upSince = this.#clock.wall();
        this.#events.changed(state === 'ready' ? 'up' : 'down', reason || 'agent: ready');
      },
    };
  }

  /** Takes over what another process knew of it; an ejection only where somebody can end it. */
  restore(state: EndpointState, mayEject: boolean): void {
    this.admin = state.admin;
    this.#upSince = state.upSince;
    this.#ejected = state.ejected && mayEject;
    if (state.ejected) this.#ejectedReason = state.reason.replace('live traffic: ', '');
    else if (state.check === 'down') this.#reason = state.reason;
    if (state.check !== 'unknown') this.#machine?.restore(state.check, this.#clock.now());
  }

  setEjected(ejected: boolean, reason: string): void {
    this.#ejected = ejected;
    this.#ejectedReason = reason;
    this.#log.state(this.#serves, this.#clock.now());
    this.#passes = 0;
    if (!ejected) this.#upSince = this.#clock.wall();
  }

  /** Starts checking in another way; a state that is known stays until the first result. */
  recheck(probe: Probe | undefined, check: HealthCheck | undefined): void {
    this.#epoch++;
    this.#timer?.cancel();
    this.#running = false;
    this.#suspected = false;
    this.#probe = probe;
    this.#check = check;
    if (!check) {
      this.#machine = undefined;
      this.#reason = '';
      return;
    }
    const known = this.#machine?.state;
    const timing = timingOf(check);
    const initial = known === 'up' || known === 'down' ? known : timing.initialState;
    this.#machine = new RiseFall({ ...timing, initialState: initial }, this.#clock.now());
    this.#schedule(startOffset(this.#rng, timing));
  }

  /** Checks at once; a failure counts as if `fall` were reached. */
  probeNow(): void {
    if (!this.#probe || this.#suspected || this.#machine?.state === 'down') return;
    this.#suspected = true;
    // A check under way is believed as this one would be.
    if (this.#running) return;
    this.#timer?.cancel();
    void this.#run();
  }

  close(): void {
    this.#agent?.close();
    this.#epoch++;
    this.#timer?.cancel();
    this.#probe = undefined;
  }

  #schedule(delayMs: number): void {
    const epoch = this.#epoch;
    this.#timer = this.#clock.after(delayMs, () => {
      if (epoch === this.#epoch) void this.#run();
    });
  }

  async #run(): Promise<void> {
    const epoch = this.#epoch;
    this.#running = true;
    const startedAt = this.#clock.now();
    const result = this.admin === 'maint' ? undefined : await this.#probe?.run(this.spec.address);
    if (epoch !== this.#epoch || !this.#machine || !this.#check) return;
    this.#running = false;
    if (result) {
      this.#log.checked(result, this.#clock.now() - startedAt, this.#machine.state !== 'down');
      this.#take(result, this.#machine, this.#check);
      this.#log.state(this.#serves, this.#clock.now());
    } else {
      this.#suspected = false;
      this.#schedule(this.#check.interval);
    }
  }

  #take(result: ProbeResult, machine: RiseFall, check: HealthCheck): void {
    this.#events.checked(result.ok);
    const before = machine.state;
    let step = machine.result(result.ok, this.#clock.now());
    // Live requests and this check agree that nothing answers: no need to ask again.
    const rounds = this.#suspected && !result.ok ? check.fall : 0;
    for (let round = 1; round < rounds && machine.state !== 'down'; round++) {
      step = machine.result(false, this.#clock.now());
    }
    this.#suspected = false;
    this.#schedule(step.nextDelay);
    this.#passes = result.ok ? this.#passes + 1 : 0;
    // A connection that was refused is what every check tries; an answer of 500 is not.
    const listens = this.#ejectedReason === 'refused' && this.#passes >= check.rise;
    const returned = before === 'down' && machine.state === 'up';
    if (this.#ejected && (listens || returned)) this.#events.recovered();
    if (machine.state === before) return;
    this.#reason = machine.state === 'down' ? `check: ${result.reason}` : '';
    if (machine.state === 'up' && before === 'down') this.#upSince = this.#clock.wall();
    this.#events.changed(machine.state === 'up' ? 'up' : 'down', this.#reason || 'check passed');
  }
}
