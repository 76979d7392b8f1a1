import type { Clock, Timer } from '../../base/clock.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { IpamDrivers } from '../../plugin/ipam-driver.ts';
import type { NetworkDrivers } from '../../plugin/network-driver.ts';
import type { EmbeddedStore } from '../../store/embedded-store.ts';

/** Something that a third-party driver holds for this host. */
export type Claim =
  | { readonly kind: 'network'; readonly driver: string; readonly network: string }
  | {
      readonly kind: 'endpoint';
      readonly driver: string;
      readonly network: string;
      readonly endpoint: string;
      /** How far it got; what was not done is not undone. */
      readonly joined: boolean;
      readonly external: boolean;
    }
  | { readonly kind: 'pool'; readonly driver: string; readonly pool: string }
  | {
      readonly kind: 'address';
      readonly driver: string;
      readonly pool: string;
      readonly address: string;
    };

const KIND = 'plugin-claim';
const ID_DIGITS = 12;
const RETRY_FIRST_MS = 2000;
const RETRY_MAX_MS = 60_000;
/** Claims that are remembered; beyond that the oldest are given up, with a warning. */
const MAX_CLAIMS = 10_000;

type Parts = {
  readonly store: EmbeddedStore;
  readonly networks: NetworkDrivers;
  readonly ipam: IpamDrivers;
  readonly clock: Clock;
  readonly logger: Logger;
};

/** Whether the driver has said nothing, so that what it holds is not known. */
function isSilence(error: unknown): boolean {
  if (!(error instanceof SluiceError)) return false;
  return error.code === 'E_PLUGIN_UNREACHABLE' || error.code === 'E_OBJECT_NOT_FOUND';
}

/**
 * What is to be given back to third-party drivers, kept in the store until they have answered: a
 * driver that is away is told when it returns, a daemon that died tells after its start.
 */
export class Debts {
  readonly #parts: Parts;
  readonly #held = new Map<string, Claim>();
  readonly #owed = new Map<string, Claim>();
  /** What an earlier daemon noted, until `start`. */
  #inherited: ReadonlyMap<string, Claim>;
  /** Until when a driver that said nothing is left alone, but for the timer's own tries. */
  readonly #silentUntil = new Map<string, number>();
  readonly #paying = new Map<string, Promise<void>>();
  #next = 1;
  #timer: Timer | undefined;
  #delayMs = RETRY_FIRST_MS;

  constructor(parts: Parts) {
    this.#parts = parts;
    // exempt(as): the store holds what this class wrote
    const noted = parts.store.list(KIND).map(({ id, value }) => [id, value as Claim] as const);
    this.#inherited = new Map(noted);
    this.#next = Math.max(0, ...noted.map(([id]) => Number(id))) + 1;
  }

  /** Claims that wait for their driver. */
  get size(): number {
    return this.#owed.size;
  }

  /** What an earlier daemon noted and had not done with. */
  get inherited(): readonly Claim[] {
    return [...this.#inherited.values()];
  }

  /** Takes over what an earlier daemon owed; `inUse`: what turned out to be wanted. */
  start(inUse: (claim: Claim) => boolean): void {
    const wanted = [...this.#inherited].filter(([, claim]) => inUse(claim)).map(([id]) => id);
    for (const [id, claim] of this.#inherited) this.#owed.set(id, claim);
    this.#inherited = new Map();
    this.#drop(wanted);
    if (this.#owed.size > 0) this.#schedule(0);
  }

  /**
   * Notes what is in no object, not yet or no longer: a death now would lose it. Nothing is done
   * about it until it is due.
   */
  hold(claims: readonly Claim[]): string[] {
    const changes = claims.map((value) => {
      const id = String(this.#next++).padStart(ID_DIGITS, '0');
      this.#held.set(id, value);
      return { kind: KIND, id, value };
    });
    if (changes.length > 0) this.#parts.store.write(changes);
    return changes.map(({ id }) => id);
  }

  /** What was held is in an object now. */
  settle(ids: readonly string[]): void {
    this.#drop(ids);
  }

  /** Notes what is to be given back; `pay` does it. */
  owe(claims: readonly Claim[]): void {
    this.due(this.hold(claims));
  }

  /** What was held is to be given back from now on. */
  due(ids: readonly string[]): void {
    for (const id of ids) {
      const claim = this.#held.get(id);
      if (claim) this.#owed.set(id, claim);
      this.#held.delete(id);
    }
    if (ids.length > 0) this.#schedule(this.#delayMs);
    const excess = [...this.#owed.keys()].slice(0, Math.max(0, this.#owed.size - MAX_CLAIMS));
    if (excess.length === 0) return;
    this.#parts.logger.warn('too much is owed to plugins: the oldest is given up', {
      given: excess.length,
    });
    this.#drop(excess);
  }

  /** Gives back what is owed to these drivers, or to all; resolves when each was tried once. */
  async pay(drivers?: Iterable<string>): Promise<void> {
    const wanted = new Set(drivers ?? [...this.#owed.values()].map(({ driver }) => driver));
    const now = this.#parts.clock.now();
    const ready = [...wanted].filter((driver) => (this.#silentUntil.get(driver) ?? 0) <= now);
    await Promise.all(ready.map((driver) => this.#payDriver(driver)));
    if (this.#owed.size === 0) this.#delayMs = RETRY_FIRST_MS;
    else this.#schedule(this.#delayMs);
  }

  close(): void {
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    if (this.#timer) return;
    this.#timer = this.#parts.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#delayMs = Math.min(RETRY_MAX_MS, this.#delayMs * 2);
      this.#silentUntil.clear();
      void this.pay();
    });
  }

  /** One after the other for each driver. */
  #payDriver(driver: string): Promise<void> {
    const work = (this.#paying.get(driver) ?? Promise.resolve()).then(() => this.#payAll(driver));
    this.#paying.set(driver, work);
    return work;
  }

  async #payAll(driver: string): Promise<void> {
    for (const [id, claim] of [...this.#owed]) {
      if (claim.driver !== driver || !this.#owed.has(id)) continue;
      try {
        await this.#release(claim);
      } catch (error) {
        const told = { driver, kind: claim.kind, reason: errorText(error) };
        if (isSilence(error)) {
          this.#parts.logger.warn('a plugin is told later what it can let go of', told);
          this.#silentUntil.set(driver, this.#parts.clock.now() + this.#delayMs);
          return;
        }
        this.#parts.logger.warn('a plugin would not let go', told);
      }
      this.#drop([id]);
    }
  }

  async #release(claim: Claim): Promise<void> {
    const { networks, ipam } = this.#parts;
    if (claim.kind === 'network') await networks.deleteNetwork(claim.driver, claim.network);
    else if (claim.kind === 'pool') await ipam.releasePool(claim.driver, claim.pool);
    else if (claim.kind === 'address') {
      await ipam.releaseAddress(claim.driver, claim.pool, claim.address);
    } else await this.#releaseEndpoint(claim);
  }

  /** A refusal of one step does not keep the next from being tried. */
  async #releaseEndpoint(claim: Extract<Claim, { kind: 'endpoint' }>): Promise<void> {
    const { driver, network, endpoint, joined, external } = claim;
    const { networks, logger } = this.#parts;
    const tryStep = async (step: () => Promise<void>) => {
      try {
        await step();
      } catch (error) {
        if (isSilence(error)) throw error;
        logger.warn('a plugin would not let go', { driver, endpoint, reason: errorText(error) });
      }
    };
    if (external) await tryStep(() => networks.revokeExternal(driver, network, endpoint));
    if (joined) await tryStep(() => networks.leave(driver, network, endpoint));
    await networks.deleteEndpoint(driver, network, endpoint);
  }

  #drop(ids: readonly string[]): void {
    for (const id of ids) {
      this.#held.delete(id);
      this.#owed.delete(id);
    }
    const changes = ids.map((id) => ({ kind: KIND, id, value: undefined }));
    if (changes.length > 0) this.#parts.store.write(changes);
  }
}
