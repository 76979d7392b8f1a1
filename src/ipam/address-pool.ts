import { type Cidr, contains, lastOf, width } from './cidr.ts';

/**
 * The addresses of one subnet. The network and broadcast addresses are never handed out, except
 * in blocks of one or two addresses. Source: RFC 3021; RFC 4291 section 2.6.1.
 */
export class AddressPool {
  readonly subnet: Cidr;
  readonly #first: bigint;
  readonly #last: bigint;
  readonly #used = new Set<bigint>();
  readonly #reserved: ReadonlySet<bigint>;
  /** Nothing below it is free. */
  #lowest: bigint;

  /** `range` limits the automatic choice only. */
  constructor(subnet: Cidr, range: Cidr | undefined) {
    this.subnet = subnet;
    this.#first = range?.base ?? subnet.base;
    this.#last = lastOf(range ?? subnet);
    this.#lowest = this.#first;
    const hostBits = width(subnet.family) - subnet.bits;
    const ends = subnet.family === 4 ? [subnet.base, lastOf(subnet)] : [subnet.base];
    this.#reserved = new Set(hostBits > 1 ? ends : []);
  }

  /** Addresses in use, the ends of the block not counted. */
  get used(): number {
    return this.#used.size;
  }

  /** Reserves one address, wherever in the subnet it lies. */
  take(value: bigint): 'taken' | 'reserved' | 'outside' | 'in-use' {
    if (!contains(this.subnet, { family: this.subnet.family, value })) return 'outside';
    if (this.#reserved.has(value)) return 'reserved';
    if (this.#used.has(value)) return 'in-use';
    this.#used.add(value);
    return 'taken';
  }

  /** Reserves the lowest free address; undefined: there is none. */
  next(): bigint | undefined {
    for (let value = this.#lowest; value <= this.#last; value++) {
      this.#lowest = value;
      if (this.take(value) === 'taken') return value;
    }
    return undefined;
  }

  /** Reserves the first free address after `previous`, round the range once. */
  nextAfter(previous: bigint): bigint | undefined {
    const start = previous < this.#first || previous >= this.#last ? this.#first : previous + 1n;
    for (let value = start; value <= this.#last; value++) {
      if (this.take(value) === 'taken') return value;
    }
    return this.next();
  }

  /** Idempotent. */
  free(value: bigint): void {
    if (this.#used.delete(value) && value >= this.#first && value < this.#lowest) {
      this.#lowest = value;
    }
  }
}
