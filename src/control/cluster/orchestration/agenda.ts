/** What a stage has to look at again at its time, by id. */
export class Agenda {
  readonly #times = new Map<string, number>();

  /** The earliest time counts; ms of the clock's `now`. */
  note(id: string, at: number): void {
    this.#times.set(id, Math.min(at, this.#times.get(id) ?? Number.POSITIVE_INFINITY));
  }

  /** Takes off what is due, and what is looked at anyway. */
  take(ids: Iterable<string>, now: number): Set<string> {
    const due = new Set(ids);
    for (const [id, at] of this.#times) if (at <= now) due.add(id);
    for (const id of due) this.#times.delete(id);
    return due;
  }

  get wakeAt(): number | undefined {
    return this.#times.size === 0 ? undefined : Math.min(...this.#times.values());
  }
}
