/** Something that a bag holds; it knows its place, and is in one bag at a time. */
export interface Placed {
  /** Index in its bag, -1 outside of any; only the bag changes it. */
  place: number;
}

/**
 * An unordered collection for members that come and go all the time. A `Set` that outgrows its
 * table leaves the old one behind, which keeps every member of that moment alive until the next
 * full collection; this never does.
 */
export class Bag<T extends Placed> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Does nothing when it is in already. */
  add(member: T): void {
    if (member.place >= 0) return;
    member.place = this.#members.length;
    this.#members.push(member);
  }

  /** Does nothing when it is not in. */
  delete(member: T): void {
    const at = member.place;
    if (at < 0) return;
    member.place = -1;
    const last = this.#members.pop() as T;
    if (last === member) return;
    this.#members[at] = last;
    last.place = at;
  }

  /** Visits every member that is in when it starts and still is at its turn. */
  visit(each: (member: T) => void): void {
    for (const member of [...this.#members]) if (member.place >= 0) each(member);
  }
}
