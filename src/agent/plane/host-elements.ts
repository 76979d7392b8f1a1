import { contentChange, type TableChange, type TableContent } from '../../kernel/nft-table.ts';
import type { ForwardIntent, NetworkIntent, SandboxIntent } from '../../model/host-intent.ts';
import { hostContent } from './host-content.ts';

type Sets = Map<string, Map<string, string>>;
type Entries = Map<string, [key: string, value: string][]>;
type ById<T> = ReadonlyMap<string, T>;

/** Those of `from` that are not the very same in `to`. */
function lacking<T>(from: ById<T>, to: ById<T>): T[] {
  return [...from].flatMap(([id, one]) => (to.get(id) === one ? [] : [one]));
}

/** The objects that the table speaks of; they are never changed in place. */
type Objects = {
  readonly networks: ById<NetworkIntent>;
  readonly forwards: ById<ForwardIntent>;
  readonly sandboxes: ById<SandboxIntent>;
};

/** The elements of each object by itself of those that are not the very same in `but`. */
function parts(of: Objects, but: Objects): TableContent[] {
  return [
    ...lacking(of.networks, but.networks).map((network) => hostContent([network], [])),
    ...lacking(of.forwards, but.forwards).map((forward) => hostContent([], [forward])),
    ...lacking(of.sandboxes, but.sandboxes)
      .filter(({ openings }) => openings !== undefined)
      .map((sandbox) => hostContent([], [], [sandbox])),
  ];
}

const NONE: Objects = { networks: new Map(), forwards: new Map(), sandboxes: new Map() };

function addEntry(entries: Entries, set: string, key: string, value: string): void {
  const list = entries.get(set);
  if (list) list.push([key, value]);
  else entries.set(set, [[key, value]]);
}

/**
 * What the host's table has to hold, kept from one intent to the next: an update costs what the
 * objects cost that changed, however many there are.
 */
export class HostElements {
  #last = NONE;
  #sets: Sets = new Map();
  #chains = new Set<string>();
  /** Two objects claim one key: what stays when one of them goes needs a look at all. */
  #contested = false;

  /** All of it; the next update changes it in place. */
  get content(): TableContent {
    return { elements: this.#sets, chains: this.#chains };
  }

  /** Takes what there is to be; returns what that changes. */
  update(objects: Objects): TableChange {
    const { networks, forwards, sandboxes } = objects;
    const change = this.#contested ? this.#rebuild(objects) : this.#step(objects);
    this.#last = {
      networks: new Map(networks),
      forwards: new Map(forwards),
      sandboxes: new Map(sandboxes),
    };
    return change;
  }

  #step(objects: Objects): TableChange {
    const gone = this.#take(parts(this.#last, objects));
    const added: Entries = new Map();
    const chains = this.#put(parts(objects, this.#last), (set, key, value) =>
      addEntry(added, set, key, value),
    );
    return { gone, added, chains };
  }

  #take(contents: readonly TableContent[]): Entries {
    const gone: Entries = new Map();
    for (const { elements } of contents) {
      for (const [set, entries] of elements) {
        for (const [key, value] of entries) {
          if (this.#sets.get(set)?.delete(key)) addEntry(gone, set, key, value);
        }
      }
    }
    return gone;
  }

  #put(
    contents: readonly TableContent[],
    added: (set: string, key: string, value: string) => void,
  ): string[] {
    const fresh: string[] = [];
    for (const { elements, chains } of contents) {
      for (const chain of chains) {
        if (!this.#chains.has(chain)) fresh.push(chain);
        this.#chains.add(chain);
      }
      for (const [set, entries] of elements) {
        const there = this.#sets.get(set) ?? new Map<string, string>();
        this.#sets.set(set, there);
        for (const [key, value] of entries) {
          // The first claim stands.
          if (there.has(key)) {
            this.#contested = true;
            continue;
          }
          there.set(key, value);
          added(set, key, value);
        }
      }
    }
    return fresh;
  }

  #rebuild(objects: Objects): TableChange {
    const before = this.content;
    this.#sets = new Map();
    this.#chains = new Set();
    this.#contested = false;
    this.#put(parts(objects, NONE), () => {});
    return contentChange(before, this.content);
  }
}
