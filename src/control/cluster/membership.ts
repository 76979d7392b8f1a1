import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import type { NodeAssignment, NodeRole } from '../../model/cluster.ts';
import type { EmbeddedStore } from '../../store/embedded-store.ts';
import { seal, unseal } from './identity/sealing.ts';

/** Of which cluster this host is a node, and as whom. Kept on its disk. */
export type Membership = {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly role: NodeRole;
  /** PEM, as are key and roots. */
  readonly certificate: string;
  readonly roots: readonly string[];
  /** Control ports of managers, as last told. */
  readonly managers: readonly string[];
  readonly listen: { readonly host: string; readonly port: number };
  readonly advertise: { readonly host: string; readonly port: number };
  /** Empty: as advertised. */
  readonly dataPathAddress: string;
  readonly key: string;
  /** Of a manager: what opens the cluster's sealed values, in base 64. */
  readonly dataKey: string | undefined;
};

/** As it is on disk: what is secret is sealed while the cluster locks its managers. */
type Kept = Omit<Membership, 'key' | 'dataKey'> &
  ({ readonly key: string; readonly dataKey: string | undefined } | { readonly sealed: string });

const SELF = { kind: 'membership', id: 'self' } as const;
const PLAN = { kind: 'assignment', id: 'last' } as const;
const PURPOSE = 'membership';

/** The part of a node's state in its cluster that outlives the daemon. */
export class MembershipFile {
  readonly #store: EmbeddedStore;

  constructor(store: EmbeddedStore) {
    this.#store = store;
  }

  get #kept(): Kept | undefined {
    // exempt(as): the store holds what this class wrote
    return this.#store.list(SELF.kind)[0]?.value as Kept | undefined;
  }

  /** This host's id in its cluster; undefined: it is of none. */
  get nodeId(): string | undefined {
    return this.#kept?.nodeId;
  }

  /** Undefined: this host is of no cluster; `locked`: its secrets need the unlock key. */
  read(): Membership | 'locked' | undefined {
    const kept = this.#kept;
    if (!kept) return undefined;
    return 'sealed' in kept ? 'locked' : kept;
  }

  /** Throws `E_CLUSTER_SEALED` when it is another key. */
  unlock(key: Buffer): Membership | undefined {
    const kept = this.#kept;
    if (!kept || !('sealed' in kept)) return kept;
    const { sealed, ...rest } = kept;
    // exempt(as): what `write` sealed
    const secret = JSON.parse(unseal(key, PURPOSE, sealed).toString()) as {
      key: string;
      dataKey: string | undefined;
    };
    return { ...rest, ...secret };
  }

  /** With a key what is secret is sealed by it. */
  write(membership: Membership, unlockKey: Buffer | undefined): void {
    const { key, dataKey, ...rest } = membership;
    const kept: Kept = unlockKey
      ? { ...rest, sealed: seal(unlockKey, PURPOSE, JSON.stringify({ key, dataKey })) }
      : membership;
    this.#put(SELF, kept);
  }

  /** The last assignment, without what secrets hold: that is never on a node's disk. */
  readAssignment(): NodeAssignment | undefined {
    // exempt(as): the store holds what this class wrote
    const kept = this.#store.list(PLAN.kind)[0]?.value as Partial<NodeAssignment> | undefined;
    // A part that is new was not written by an older daemon.
    return kept && { ...NO_ASSIGNMENT, ...kept };
  }

  writeAssignment(assignment: NodeAssignment): void {
    const files = assignment.files.filter(({ kind }) => kind !== 'secret');
    const tasks = assignment.tasks.map(({ template: { login: _, ...template }, ...task }) => {
      return { ...task, template };
    });
    this.#put(PLAN, { ...assignment, files, tasks });
  }

  /** This host is of no cluster any more. */
  clear(): void {
    this.#put(SELF, undefined);
    this.#put(PLAN, undefined);
  }

  #put(where: { kind: string; id: string }, value: unknown): void {
    this.#store.write([{ ...where, value }]);
  }
}
