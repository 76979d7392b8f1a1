import { createHash } from 'node:crypto';
import type { NodeAssignment } from '../model/cluster.ts';

/** A node's assignment with nothing in it. */
export const NO_ASSIGNMENT: NodeAssignment = {
  tasks: [],
  files: [],
  networks: [],
  attachments: [],
  endpoints: [],
  services: [],
  peers: [],
  keys: [],
};

/** A kind of item of an assignment. */
export type AssignmentPart = keyof NodeAssignment;

/** What identifies an item of each part. */
const KEYS: { readonly [P in AssignmentPart]: (item: NodeAssignment[P][number]) => string } = {
  tasks: ({ id }) => id,
  files: ({ id }) => id,
  networks: ({ id }) => id,
  attachments: ({ id }) => id,
  endpoints: ({ network, address }) => `${network} ${address}`,
  services: ({ serviceId }) => serviceId,
  peers: ({ nodeId }) => nodeId,
  keys: ({ id }) => String(id).padStart(12, '0'),
};
// exempt(as): the names of the object above
const PARTS = Object.keys(KEYS) as AssignmentPart[];
const VERSION_DIGITS = 32;

/** What differs between two assignments, by id; a part in which nothing differs is absent. */
export type AssignmentDiff = {
  readonly [P in AssignmentPart]?: {
    readonly put: readonly unknown[];
    readonly drop: readonly string[];
  };
};

/** What identifies an item within its part. */
export function keyOf(part: AssignmentPart, item: unknown): string {
  // exempt(as): a part's key function takes that part's items
  return (KEYS[part] as (one: unknown) => string)(item);
}

function keyed(assignment: NodeAssignment, part: AssignmentPart): Map<string, unknown> {
  return new Map(assignment[part].map((item) => [keyOf(part, item), item]));
}

/** An assignment of the items that `parts` gives with their keys, in the order of these. */
export function buildAssignment(
  parts: (part: AssignmentPart) => Iterable<readonly [string, unknown]>,
): NodeAssignment {
  const entries = PARTS.map((part) => {
    const items = [...parts(part)].sort(([a], [b]) => (a < b ? -1 : 1));
    return [part, items.map(([, item]) => item)];
  });
  // exempt(as): each part holds items of that part
  return Object.fromEntries(entries) as NodeAssignment;
}

/** Of items that were seen before; they are never changed. */
const digests = new WeakMap<object, bigint>();

/** 128 bits that stand for an item's contents. */
export function digestOf(part: AssignmentPart, item: object): bigint {
  const known = digests.get(item);
  if (known !== undefined) return known;
  const digest = createHash('sha256')
    .update(`${part} ${JSON.stringify(item)}`)
    .digest('hex');
  const value = BigInt(`0x${digest.slice(0, VERSION_DIGITS)}`);
  digests.set(item, value);
  return value;
}

/** The name of contents whose digests come to `sum` by exclusive or. */
export function formatVersion(sum: bigint): string {
  return sum.toString(16).padStart(VERSION_DIGITS, '0');
}

/**
 * Names what an assignment holds: 32 hex digits, equal for equal contents in whatever order. A
 * change costs what it changes, since the digests of all items are put together by exclusive or.
 */
export function versionOf(assignment: NodeAssignment): string {
  const sum = PARTS.reduce(
    (all, part) => assignment[part].reduce((rest, item) => rest ^ digestOf(part, item), all),
    0n,
  );
  return formatVersion(sum);
}

/** What a difference makes of an assignment, in the order of its keys. */
export function applyDiff(before: NodeAssignment, diff: AssignmentDiff): NodeAssignment {
  return buildAssignment((part) => {
    const items = keyed(before, part);
    for (const id of diff[part]?.drop ?? []) items.delete(id);
    for (const item of diff[part]?.put ?? []) items.set(keyOf(part, item), item);
    return items;
  });
}
