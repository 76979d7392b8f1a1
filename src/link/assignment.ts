import { createHash } from 'node:crypto';
import type { NodeAssignment, ServiceBackends, ServiceMember } from '../model/cluster.ts';

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

/** A service without its tasks. */
export type ServiceHead = Omit<ServiceBackends, 'tasks'>;

/**
 * What an assignment is told by: the tasks of services are items of their own, so that one of many
 * that changes is told alone.
 */
type Parts = Omit<NodeAssignment, 'services'> & {
  readonly services: readonly ServiceHead[];
  readonly members: readonly ServiceMember[];
};

/** A kind of item of an assignment. */
export type AssignmentPart = keyof Parts;

/** What identifies an item of each part. */
const KEYS: { readonly [P in AssignmentPart]: (item: Parts[P][number]) => string } = {
  tasks: ({ id }) => id,
  files: ({ id }) => id,
  networks: ({ id }) => id,
  attachments: ({ id }) => id,
  endpoints: ({ network, address }) => `${network} ${address}`,
  services: ({ serviceId }) => serviceId,
  members: ({ serviceId, taskId }) => `${serviceId} ${taskId}`,
  peers: ({ nodeId }) => nodeId,
  keys: ({ id }) => String(id).padStart(12, '0'),
};
// exempt(as): the names of the object above
const PARTS = Object.keys(KEYS) as AssignmentPart[];
const PLAIN_PARTS = PARTS.filter((part) => part !== 'services' && part !== 'members');
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

const heads = new WeakMap<ServiceBackends, ServiceHead>();

function headOf(service: ServiceBackends): ServiceHead {
  const known = heads.get(service);
  if (known) return known;
  const { tasks: _, ...head } = service;
  heads.set(service, head);
  return head;
}

function serviceOf(head: ServiceHead, members: Iterable<ServiceMember>): ServiceBackends {
  const tasks = [...members].sort(
    (a, b) => Number(a.draining) - Number(b.draining) || (a.taskId < b.taskId ? -1 : 1),
  );
  const service = { ...head, tasks };
  heads.set(service, head);
  return service;
}

/** An assignment of the items that `parts` gives with their keys, in the order of these. */
export function buildAssignment(
  parts: (part: AssignmentPart) => Iterable<readonly [string, unknown]>,
): NodeAssignment {
  const entries = PARTS.map((part) => [part, inOrder(parts(part))]);
  // exempt(as): each part holds items of that part
  const { services, members, ...rest } = Object.fromEntries(entries) as Parts;
  const tasks = Map.groupBy(members, ({ serviceId }) => serviceId);
  return {
    ...rest,
    services: services.map((head) => serviceOf(head, tasks.get(head.serviceId) ?? [])),
  };
}

function inOrder(items: Iterable<readonly [string, unknown]>): unknown[] {
  return [...items].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
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
  const plain = PLAIN_PARTS.reduce(
    (all, part) => assignment[part].reduce((rest, item) => rest ^ digestOf(part, item), all),
    0n,
  );
  return formatVersion(assignment.services.reduce((all, one) => all ^ serviceDigest(one), plain));
}

/** Of a service and its tasks together. */
const serviceDigests = new WeakMap<ServiceBackends, bigint>();

function serviceDigest(service: ServiceBackends): bigint {
  const known = serviceDigests.get(service);
  if (known !== undefined) return known;
  const digest = service.tasks.reduce(
    (rest, task) => rest ^ digestOf('members', task),
    digestOf('services', headOf(service)),
  );
  serviceDigests.set(service, digest);
  return digest;
}

/** What a difference makes of an assignment, in the order of its keys. */
export function applyDiff(before: NodeAssignment, diff: AssignmentDiff): NodeAssignment {
  const entries = PLAIN_PARTS.map((part) => [part, changed(part, before[part], diff)]);
  // exempt(as): each part holds items of that part
  const rest = Object.fromEntries(entries) as Omit<NodeAssignment, 'services'>;
  return { ...rest, services: changedServices(before.services, diff) };
}

function changed(part: AssignmentPart, items: readonly object[], diff: AssignmentDiff) {
  const { put = [], drop = [] } = diff[part] ?? {};
  if (put.length + drop.length === 0) return items;
  const kept = new Map<string, unknown>(items.map((item) => [keyOf(part, item), item]));
  for (const id of drop) kept.delete(id);
  for (const item of put) kept.set(keyOf(part, item), item);
  return inOrder(kept);
}

/** A service of which nothing differs stays the same object: what is made of it is kept by it. */
function changedServices(
  before: readonly ServiceBackends[],
  diff: AssignmentDiff,
): readonly ServiceBackends[] {
  const { put = [], drop = [] } = diff.members ?? {};
  // exempt(as): each part holds items of that part
  const puts = Map.groupBy(put as readonly ServiceMember[], ({ serviceId }) => serviceId);
  const drops = Map.groupBy(drop, (key) => key.slice(0, key.indexOf(' ')));
  const known = new Map(before.map((service) => [headOf(service), service]));
  // exempt(as): each part holds items of that part
  const next = changed('services', [...known.keys()], diff) as readonly ServiceHead[];
  const former = new Map(before.map(({ serviceId, tasks }) => [serviceId, tasks]));
  return next.map((head) => {
    const { serviceId } = head;
    const same = known.get(head);
    if (same && !puts.has(serviceId) && !drops.has(serviceId)) return same;
    const tasks = former.get(serviceId) ?? [];
    const kept = new Map(tasks.map((task) => [keyOf('members', task), task]));
    for (const key of drops.get(serviceId) ?? []) kept.delete(key);
    for (const task of puts.get(serviceId) ?? []) kept.set(keyOf('members', task), task);
    return serviceOf(head, kept.values());
  });
}
