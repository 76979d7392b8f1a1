/** Whether an address of a forward stands for more than itself. */
export function isWildcard(address: string | undefined): boolean {
  return address === undefined || address === '0.0.0.0' || address === '::';
}

/** A transport protocol that the kernel plane forwards. */
export type Transport = 'tcp' | 'udp' | 'sctp';

/** A network as the kernel has to have it. Addresses carry their prefix length. */
export type NetworkIntent = {
  readonly id: string;
  readonly driver: string;
  /** Name of the bridge link; macvlan: of the parent; empty: a third-party driver has its own. */
  readonly link: string;
  readonly mtu: number | undefined;
  /** The gateway's own addresses on the link, such as `172.18.0.1/16`. */
  readonly gateways: readonly string[];
  readonly subnets: readonly string[];
  readonly internal: boolean;
  /** Whether attachments may reach one another. */
  readonly icc: boolean;
  readonly masquerade: boolean;
  /** Whether the firewall's table knows of it, which otherwise neither isolates nor masquerades. */
  readonly ruled: boolean;
  /** The link belongs to the operator and is neither made nor removed. */
  readonly external: boolean;
  /** Driver options, as given. */
  readonly options: Readonly<Record<string, string>>;
};

/** A sandbox's join to a network. */
export type AttachmentIntent = {
  readonly id: string;
  readonly network: string;
  /** Name inside the sandbox: `eth0`, `eth1`, … */
  readonly link: string;
  /** Empty: as it is. */
  readonly mac: string;
  /** IPv4 and IPv6 addresses with prefix length, link-local ones included. */
  readonly addresses: readonly string[];
  /** Default routes through this attachment; only the sandbox's gateway attachment has any. */
  readonly gateways: readonly string[];
  /** A link of the host that somebody else made, and that moves into the sandbox. */
  readonly source?: string;
  /** Further routes through this attachment; undefined next hop: on the link. */
  readonly routes?: readonly {
    readonly destination: string;
    readonly nextHop: string | undefined;
  }[];
};

/**
 * One name of a network, as the resolver of its members answers it. `NAME.NETWORK` is a record of
 * its own; the resolver derives no names.
 */
export type NameRecord = {
  /** Lower case, without a trailing dot. */
  readonly name: string;
  readonly network: string;
  readonly addresses: readonly string[];
  /** Whether a reverse query for one of the addresses answers this name. */
  readonly primary: boolean;
  /** Where it can be reached, for queries of services; undefined: nowhere that is known. */
  readonly services?: readonly { readonly port: number; readonly transport: Transport }[];
};

/** How a sandbox resolves names; undefined: it has no resolver of ours. */
export type ResolverIntent = {
  /** Upstream servers, asked in order. */
  readonly servers: readonly string[];
  /** Records that only this sandbox sees: links. */
  readonly records: readonly NameRecord[];
  readonly ndots: number | undefined;
};

/** A port that one member of a network may reach of another where members are kept apart. */
export type Opening = {
  /** The network's bridge. */
  readonly link: string;
  /** IPv4 addresses of the two. */
  readonly source: string;
  readonly target: string;
  readonly transport: Transport;
  readonly port: number;
};

/** A network namespace and what is in it. */
export type SandboxIntent = {
  readonly id: string;
  readonly openings?: readonly Opening[];
  readonly attachments: readonly AttachmentIntent[];
  readonly resolver: ResolverIntent | undefined;
  readonly sysctls: Readonly<Record<string, string>>;
};

/** An address and port that the kernel forwards to one of its targets. */
export type ForwardIntent = {
  readonly id: string;
  readonly transport: Transport;
  /** Undefined: every address of the host; `0.0.0.0` and `::`: every one of their family. */
  readonly address: string | undefined;
  readonly port: number;
  /** Each gets the same share; none: the port is closed with a reset. */
  readonly targets: readonly { readonly address: string; readonly port: number }[];
  readonly balance: 'round-robin' | 'random' | 'source-hash';
  /** `published`: a port of the host. `vip`: an address of its own, which no host has. */
  readonly kind: 'published' | 'vip';
};

/** Everything that the kernel of one host has to show. */
export type HostIntent = {
  readonly networks: readonly NetworkIntent[];
  readonly sandboxes: readonly SandboxIntent[];
  readonly forwards: readonly ForwardIntent[];
  readonly names: readonly NameRecord[];
};

/**
 * What is to be put in place and what is to go, by id. A sandbox that is put is put whole: its
 * attachments that are not listed go. Names are replaced by network: all records of every network
 * that occurs in `put.names` or in `remove.names` are dropped first.
 */
export type HostDelta = {
  readonly put: Partial<HostIntent>;
  readonly remove: {
    readonly networks?: readonly string[];
    readonly sandboxes?: readonly string[];
    readonly forwards?: readonly string[];
    /** Networks that have no names any more. */
    readonly names?: readonly string[];
  };
};
