import {
  type AssignmentDiff,
  type AssignmentPart,
  buildAssignment,
  digestOf,
  formatVersion,
  keyOf,
} from '../../link/assignment.ts';
import type { NodeAssignment } from '../../model/cluster.ts';

/** An item with those who get it: everybody who follows one of the topics. */
export type Notice = {
  readonly topics: readonly string[];
  readonly part: AssignmentPart;
  readonly item: object;
};

type Entry = { readonly part: AssignmentPart; readonly key: string; readonly item: object };

/** Changes of a group that are remembered; who is further behind gets everything. */
const MAX_LOG = 4096;

/** The items that the same followers get. */
class Group {
  readonly topics: readonly string[];
  readonly entries = new Map<string, Entry>();
  /** Digests of all items together. */
  sum = 0n;
  /** What changed and when, the oldest first. */
  log: { readonly at: number; readonly entry: Entry }[] = [];
  /** Changes up to then are forgotten. */
  forgotten = 0;

  constructor(topics: readonly string[]) {
    this.topics = topics;
  }

  note(at: number, entry: Entry): void {
    this.sum ^= digestOf(entry.part, entry.item);
    this.log.push({ at, entry });
    if (this.log.length <= 2 * MAX_LOG) return;
    this.forgotten = this.log[MAX_LOG]?.at ?? at;
    this.log = this.log.filter((one) => one.at > this.forgotten);
  }

  /** What was touched since then. */
  since(at: number): Entry[] {
    const found: Entry[] = [];
    for (let index = this.log.length - 1; index >= 0; index--) {
      const one = this.log[index];
      if (!one || one.at <= at) break;
      found.push(one.entry);
    }
    return found;
  }
}

/** Everything that a follower gets, as of one moment. */
export type BoardView = {
  readonly at: number;
  /** As `versionOf` what it holds. */
  readonly version: string;
  readonly groups: ReadonlySet<Group>;
};

const nameOf = ({ part, key }: Entry) => `${part} ${key}`;

/**
 * Items for many followers, each with few of them. Items of the same audience are kept together, so
 * that a change costs what it changes, for each follower that it concerns.
 */
export class Board {
  readonly #groups = new Map<string, Group>();
  readonly #byTopic = new Map<string, Set<Group>>();
  /** By source: what it has put where. */
  readonly #placed = new Map<string, Map<string, { group: Group; entry: Entry }>>();
  #now = 0;

  /**
   * Takes the notices of some sources in place of those before; a source without any is gone. The
   * topics in which something differs.
   */
  post(sources: ReadonlyMap<string, readonly Notice[]>): Set<string> {
    this.#now++;
    const touched = new Set<string>();
    const changes = [...sources].map(([source, notices]) => ({
      source,
      placed: this.#placed.get(source) ?? new Map<string, { group: Group; entry: Entry }>(),
      wanted: new Map(notices.map((notice) => [this.#nameOf(notice), notice])),
    }));
    // First what goes: a key may pass from one source to another.
    for (const { placed, wanted } of changes) {
      for (const [name, { group, entry }] of placed) {
        const now = wanted.get(name);
        if (now && digestOf(now.part, now.item) === digestOf(entry.part, entry.item)) continue;
        placed.delete(name);
        this.#drop(group, entry, touched);
      }
    }
    for (const { source, placed, wanted } of changes) {
      for (const [name, notice] of wanted) {
        if (!placed.has(name)) placed.set(name, this.#put(notice, touched));
      }
      if (placed.size > 0) this.#placed.set(source, placed);
      else this.#placed.delete(source);
    }
    return touched;
  }

  /** What followers of these topics get now. */
  view(topics: Iterable<string>): BoardView {
    const groups = new Set<Group>();
    for (const topic of topics) {
      for (const group of this.#byTopic.get(topic) ?? []) groups.add(group);
    }
    let sum = 0n;
    for (const group of groups) sum ^= group.sum;
    return { at: this.#now, version: formatVersion(sum), groups };
  }

  /** All items of a view that was just taken. */
  whole({ groups }: BoardView): NodeAssignment {
    const all = [...groups].flatMap(({ entries }) => [...entries.values()]);
    const parts = Map.groupBy(all, ({ part }) => part);
    return buildAssignment((part) =>
      (parts.get(part) ?? []).map(({ key, item }) => [key, item] as const),
    );
  }

  /** What makes a view of a former one; undefined: that is too long ago. */
  diff(from: BoardView, to: BoardView): AssignmentDiff | undefined {
    const put = new Map<string, Entry>();
    const drop = new Map<string, Entry>();
    for (const group of new Set([...from.groups, ...to.groups])) {
      const [had, has] = [from.groups.has(group), to.groups.has(group)];
      if (had && group.forgotten > from.at) return undefined;
      const touched = had ? group.since(from.at) : [];
      const rest = had && has ? [] : group.entries.values();
      for (const entry of [...touched, ...rest]) {
        const now = has ? group.entries.get(nameOf(entry)) : undefined;
        if (now) put.set(nameOf(entry), now);
        else drop.set(nameOf(entry), entry);
      }
    }
    for (const name of put.keys()) drop.delete(name);
    const [puts, drops] = [put, drop].map((one) => Map.groupBy(one.values(), ({ part }) => part));
    const parts = new Set([...(puts?.keys() ?? []), ...(drops?.keys() ?? [])]);
    return Object.fromEntries(
      [...parts].map((part) => [
        part,
        {
          put: (puts?.get(part) ?? []).map(({ item }) => item),
          drop: (drops?.get(part) ?? []).map(({ key }) => key),
        },
      ]),
    );
  }

  #nameOf({ topics, part, item }: Notice): string {
    return `${topics.join()} ${part} ${keyOf(part, item)}`;
  }

  #put({ topics, part, item }: Notice, touched: Set<string>): { group: Group; entry: Entry } {
    const entry = { part, key: keyOf(part, item), item };
    const group = this.#group(topics);
    const former = group.entries.get(nameOf(entry));
    if (former) group.note(this.#now, former);
    group.entries.set(nameOf(entry), entry);
    group.note(this.#now, entry);
    for (const topic of topics) touched.add(topic);
    return { group, entry };
  }

  #drop(group: Group, entry: Entry, touched: Set<string>): void {
    // Another source may have taken the key since.
    if (group.entries.get(nameOf(entry)) !== entry) return;
    group.entries.delete(nameOf(entry));
    group.note(this.#now, entry);
    for (const topic of group.topics) touched.add(topic);
    if (group.entries.size > 0) return;
    this.#groups.delete(group.topics.join());
    for (const topic of group.topics) {
      const groups = this.#byTopic.get(topic);
      groups?.delete(group);
      if (groups?.size === 0) this.#byTopic.delete(topic);
    }
  }

  #group(topics: readonly string[]): Group {
    const name = topics.join();
    let group = this.#groups.get(name);
    if (!group) {
      group = new Group(topics);
      this.#groups.set(name, group);
      for (const topic of topics) {
        this.#byTopic.set(topic, (this.#byTopic.get(topic) ?? new Set()).add(group));
      }
    }
    return group;
  }
}
