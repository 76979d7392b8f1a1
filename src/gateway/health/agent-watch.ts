import type { Clock, Timer } from '../../base/clock.ts';
import type { Rng } from '../../base/rng.ts';
import type { AgentOrders } from '../../health/agent-orders.ts';
import type { EndpointAddress } from '../../model/address.ts';
import type { AgentState } from '../../model/endpoint-state.ts';
import type { AgentCheck } from '../../model/health-check.ts';
import { type AgentAnswer, AgentProbe } from '../../net/probes/agent-probe.ts';

/** What a watch tells. */
export type AgentWatchEvents = {
  /** Where to ask; undefined: not this time. */
  target(): EndpointAddress | undefined;
  answered(kind: AgentAnswer['kind']): void;
  /** A reply ordered something new; `before` is the state that was. */
  changed(before: AgentState): void;
};

/** Asks the agent of one endpoint again and again and keeps what it ordered. */
export class AgentWatch {
  readonly orders: AgentOrders;
  readonly #check: AgentCheck;
  readonly #probe: AgentProbe;
  readonly #clock: Clock;
  readonly #events: AgentWatchEvents;
  #timer: Timer | undefined;
  #closed = false;

  /** `orders` holds what an earlier watch of the same endpoint was told. */
  constructor(
    check: AgentCheck,
    orders: AgentOrders,
    clock: Clock,
    rng: Rng,
    events: AgentWatchEvents,
  ) {
    this.#check = check;
    this.orders = orders;
    this.#probe = new AgentProbe(check);
    this.#clock = clock;
    this.#events = events;
    this.#schedule(rng.next() * check.interval);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => void this.#run());
  }

  async #run(): Promise<void> {
    const target = this.#events.target();
    const answer = target && (await this.#probe.run(target));
    if (this.#closed) return;
    this.#schedule(this.#check.interval);
    if (!answer) return;
    this.#events.answered(answer.kind);
    if (answer.kind !== 'reply') return;
    const before = this.orders.state;
    if (this.orders.take(answer.reply)) this.#events.changed(before);
  }
}
