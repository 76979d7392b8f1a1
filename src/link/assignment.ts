import { createHash } from 'node:crypto';
import type { NodeAssignment } from '../model/cluster.ts';

/** A node's assignment with nothing in it. */
export const NO_ASSIGNMENT: NodeAssignment = {
  tasks: [],
  files: [],
  networks: [],
  endpoints: [],
  services: [],
  peers: [],
  keys: [],
};

type Part = keyof NodeAssignment;

/** What identifies an item of each part. */
const KEYS: { readonly [P in Part]: (item: NodeAssignment[P][number]) => string } = {
  tasks: ({ id }) => id,
  files: ({ id }) => id,
  networks: ({ id }) => id,
  endpoints: ({ network, address }) => `${network} ${address}`,
  services: ({ serviceId }) => serviceId,
  peers: ({ nodeId }) => nodeId,
  keys: ({ id }) => String(id).padStart(12, '0'),
};
// exempt(as): the names of the object above
const PARTS = Object.keys(KEYS) as Part[];

/** What differs between two assignments, by id; a part in which nothing differs is absent. */
export type AssignmentDiff = {
  readonly [P in Part]?: { readonly put: readonly unknown[]; readonly drop: readonly string[] };
};

function keyed(assignment: NodeAssignment, part: Part): Map<string, unknown> {
  // exempt(as): a part's key function takes that part's items
  const key = KEYS[part] as (item: unknown) => string;
  return new Map(assignment[part].map((item) => [key(item), item]));
}

function build(parts: (part: Part) => Iterable<[string, unknown]>): NodeAssignment {
  const entries = PARTS.map((part) => {
    const items = [...parts(part)].sort(([a], [b]) => (a < b ? -1 : 1));
    return [part, items.map(([, item]) => item)];
  });
  // exempt(as): each part holds items of that part
  return Object.fromEntries(entries) as NodeAssignment;
}

/** The same with every part in order of its ids, so that equal ones have equal versions. */
export function sorted(assignment: NodeAssignment): NodeAssignment {
  return build((part) => keyed(assignment, part));
}

/** Names what a sorted assignment holds: 32 hex digits, equal exactly for equal contents. */
export function versionOf(assignment: NodeAssignment): string {
  return createHash('sha256').update(JSON.stringify(assignment)).digest('hex').slice(0, 32);
}

/** What makes `after` of `before`. */
export function diffAssignment(before: NodeAssignment, after: NodeAssignment): AssignmentDiff {
  const entries = PARTS.flatMap((part) => {
    const [old, now] = [keyed(before, part), keyed(after, part)];
    const same = (key: string, item: unknown) =>
      old.get(key) === item || JSON.stringify(old.get(key)) === JSON.stringify(item);
    const put = [...now].filter(([key, item]) => !same(key, item)).map(([, item]) => item);
    const drop = [...old.keys()].filter((key) => !now.has(key));
    return put.length + drop.length > 0 ? [[part, { put, drop }]] : [];
  });
  return Object.fromEntries(entries);
}

/** What a difference makes of an assignment, sorted. */
export function applyDiff(before: NodeAssignment, diff: AssignmentDiff): NodeAssignment {
  return build((part) => {
    const items = keyed(before, part);
    // exempt(as): a part's key function takes that part's items
    const key = KEYS[part] as (item: unknown) => string;
    for (const id of diff[part]?.drop ?? []) items.delete(id);
    for (const item of diff[part]?.put ?? []) items.set(key(item), item);
    return items;
  });
}
