import type { NameRecord } from '../../model/host-intent.ts';

/** How a sandbox's names are resolved. */
export type ResolvedSandbox = {
  /** Ids of its networks; the first one that knows a name answers. */
  readonly networks: readonly string[];
  /** Records that only this sandbox sees; they come before its networks'. */
  readonly records: readonly NameRecord[];
  /** Asked in order for what is not known here; none: nobody is. */
  readonly servers: readonly string[];
  readonly ndots: number | undefined;
};

/** What changed since the last order; a resolver's first one holds everything. */
export type ResolverOrder = {
  readonly id: number;
  /** By network namespace. One that is not served yet is from now on. */
  readonly sandboxes: readonly (readonly [netns: string, sandbox: ResolvedSandbox])[];
  /** Namespaces that are about to go. */
  readonly gone: readonly string[];
  /** In place of those that the network had; it may have none. */
  readonly names: readonly (readonly [network: string, records: readonly NameRecord[]])[];
};

/** Where a sandbox's resolver listens at its address. */
export type ResolverPorts = { readonly udp: number; readonly tcp: number };

/** What became of the sandboxes of an order: each is in one of the two. */
export type ResolverAnswer = {
  readonly id: number;
  readonly ports: readonly (readonly [netns: string, ports: ResolverPorts])[];
  readonly failures: readonly (readonly [netns: string, message: string])[];
};

/** Where the resolver of every sandbox answers. */
export const RESOLVER_ADDRESS = '127.0.0.11';
