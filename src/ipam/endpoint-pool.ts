import { type Cidr, contains, lastOf, width } from './cidr.ts';

/** What an address of a cluster's network is for: a task's own, or one that stands for a service. */
export type EndpointUse = 'task' | 'vip';

/** The part of a subnet that services are served from first, and the part that is kept for each use. */
const VIP_SHARE = 4n;
const KEPT_SHARE = 16n;

/**
 * The addresses of one subnet for two uses that do not starve each other. Tasks are given the next
 * address upwards after their last one, services downwards in the upper quarter; each goes on into
 * the other's part when its own is full. A sixteenth of the subnet stays free for each use that has
 * not had as much. An address that came back is thus given again late.
 */
export class EndpointPool {
  readonly subnet: Cidr;
  readonly #first: bigint;
  readonly #last: bigint;
  /** The lowest address of the upper part. */
  readonly #upper: bigint;
  readonly #kept: bigint;
  /** Undefined use: never handed out. */
  readonly #used = new Map<bigint, EndpointUse | undefined>();
  readonly #counts = { task: 0n, vip: 0n, lower: 0n, upper: 0n };
  readonly #cursors: Record<EndpointUse, bigint>;

  /** `range` limits what is chosen, not what is asked for; `reserved` is never handed out. */
  constructor(subnet: Cidr, range: Cidr | undefined, reserved: Iterable<bigint>) {
    this.subnet = subnet;
    this.#first = (range ?? subnet).base;
    this.#last = lastOf(range ?? subnet);
    const size = this.#last - this.#first + 1n;
    this.#upper = this.#last - size / VIP_SHARE + 1n;
    this.#kept = size / KEPT_SHARE;
    this.#cursors = { task: this.#first - 1n, vip: this.#last + 1n };
    const ends = subnet.family === 4 ? [subnet.base, lastOf(subnet)] : [subnet.base];
    const reservedEnds = width(subnet.family) - subnet.bits > 1 ? ends : [];
    for (const value of [...reservedEnds, ...reserved]) this.#put(value, undefined);
  }

  /** Takes one address, wherever in the subnet it lies; false: it is not to be had. */
  take(value: bigint, use: EndpointUse): boolean {
    return contains(this.subnet, { family: this.subnet.family, value }) && this.#put(value, use);
  }

  /** Takes the next free address; undefined: none is left for this use. */
  next(use: EndpointUse): bigint | undefined {
    const { task, vip, lower, upper } = this.#counts;
    const others = use === 'task' ? vip : task;
    const kept = this.#kept > others ? this.#kept - others : 0n;
    if (this.#last - this.#first + 1n - lower - upper <= kept) return undefined;
    const value = use === 'task' ? this.#upwards() : this.#downwards();
    this.#cursors[use] = value;
    this.#put(value, use);
    return value;
  }

  /** Idempotent; what is never handed out stays so. */
  free(value: bigint): void {
    const use = this.#used.get(value);
    if (use === undefined) return;
    this.#used.delete(value);
    this.#count(value, use, -1n);
  }

  #upwards(): bigint {
    const full = this.#counts.lower === this.#upper - this.#first;
    const end = full ? this.#last : this.#upper - 1n;
    const cursor = this.#cursors.task;
    return this.#search(cursor < end ? cursor + 1n : this.#first, this.#first, end, 1n);
  }

  #downwards(): bigint {
    const full = this.#counts.upper === this.#last - this.#upper + 1n;
    const end = full ? this.#first : this.#upper;
    const cursor = this.#cursors.vip;
    return this.#search(cursor > end ? cursor - 1n : this.#last, this.#last, end, -1n);
  }

  /** The first free address from `start` to `end`, else from `origin`; there is one. */
  #search(start: bigint, origin: bigint, end: bigint, step: bigint): bigint {
    for (let value = start; ; value = value === end ? origin : value + step) {
      if (!this.#used.has(value)) return value;
    }
  }

  #put(value: bigint, use: EndpointUse | undefined): boolean {
    if (this.#used.has(value)) return false;
    this.#used.set(value, use);
    this.#count(value, use, 1n);
    return true;
  }

  #count(value: bigint, use: EndpointUse | undefined, by: bigint): void {
    if (use !== undefined) this.#counts[use] += by;
    if (value < this.#first || value > this.#last) return;
    this.#counts[value < this.#upper ? 'lower' : 'upper'] += by;
  }
}
