/** When a waiter is answered. */
export type WaitCondition = 'not-running' | 'next-exit' | 'removed';

/** How what was waited for ended. */
export type WaitResult = { readonly exitCode: number; readonly error: string | undefined };

type Waiter = {
  readonly condition: WaitCondition;
  readonly resolve: (result: WaitResult) => void;
};

/** Those who wait for the end of containers. */
export class Waiters {
  readonly #waiters = new Map<string, Set<Waiter>>();

  /** Registers at once; `cancel` when the one who waits has gone. */
  add(id: string, condition: WaitCondition): { result: Promise<WaitResult>; cancel: () => void } {
    const { promise, resolve } = Promise.withResolvers<WaitResult>();
    const waiter = { condition, resolve };
    const set = this.#waiters.get(id) ?? new Set();
    this.#waiters.set(id, set.add(waiter));
    return { result: promise, cancel: () => this.#drop(id, waiter) };
  }

  ended(id: string, result: WaitResult): void {
    this.#answer(id, result, ({ condition }) => condition !== 'removed');
  }

  removed(id: string, result: WaitResult): void {
    this.#answer(id, result, () => true);
  }

  #answer(id: string, result: WaitResult, fits: (waiter: Waiter) => boolean): void {
    for (const waiter of [...(this.#waiters.get(id) ?? [])]) {
      if (!fits(waiter)) continue;
      this.#drop(id, waiter);
      waiter.resolve(result);
    }
  }

  #drop(id: string, waiter: Waiter): void {
    const set = this.#waiters.get(id);
    set?.delete(waiter);
    if (set?.size === 0) this.#waiters.delete(id);
  }
}
