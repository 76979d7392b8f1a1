import { formatCidr } from '../ipam/cidr.ts';
import type { SubnetSource } from '../ipam/subnet-choice.ts';

/** What the operator of a daemon chose for all its networks and containers. */
export type DaemonOptions = {
  readonly defaultBridge: {
    /** No default bridge: containers without a network get none. */
    readonly enabled: boolean;
    /** Name of its link; undefined: the usual one, or another that is free. */
    readonly link: string | undefined;
    /** The link is the operator's. */
    readonly external: boolean;
    /** Its own address with prefix length, one of each family at most. */
    readonly addresses: readonly string[];
    /** Automatic addresses stay within these blocks. */
    readonly ranges: readonly string[];
    /** Default routes of containers, where they are not the bridge's own address. */
    readonly gateways: readonly string[];
    readonly ipv6: boolean;
    readonly icc: boolean;
    readonly masquerade: boolean;
    readonly mtu: number | undefined;
  };
  /** Where subnets of new networks are taken from, in order. */
  readonly subnetSources: readonly SubnetSource[];
  readonly dns: {
    readonly servers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
  /** Published ports without an address bind to this one; undefined: to every address. */
  readonly bindAddress: string | undefined;
  /** What `host-gateway` in extra hosts stands for; empty: the default bridge's address. */
  readonly hostGateways: readonly string[];
  /** Whether rules are programmed; without them nothing is published. */
  readonly rules: boolean;
  /** Registries that are talked to without checks: `HOST`, `HOST:PORT`, or blocks of addresses. */
  readonly insecureRegistries: readonly string[];
  readonly labels: readonly string[];
  readonly shutdownTimeoutMs: number;
};

/** What the host says of itself; read anew each time it is needed. */
export interface HostFacts {
  /** Text of its resolv.conf. */
  resolvConf(): string;
  /** Text of its hosts file. */
  hosts(): string;
  hostname(): string;
  /** Blocks that its routes reach on a link. */
  routes(): readonly string[];
  /** Where ports without a number are taken from, inclusive. */
  dynamicPorts(): readonly [number, number];
  /** Where the network namespace of a sandbox is to be found. */
  sandboxPath(id: string): string;
  /** Whether a link of this name exists. */
  hasLink(name: string): boolean;
  /** Addresses of a link with their prefix length; undefined: there is none of this name. */
  linkAddresses(name: string): readonly string[] | undefined;
}

/** Where subnets are taken from, as text. */
export function describeSources({
  subnetSources,
}: DaemonOptions): { base: string; size: number }[] {
  return subnetSources.map(({ base, bits }) => ({ base: formatCidr(base), size: bits }));
}
