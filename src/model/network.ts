/** A block of addresses of a network. */
export type IpamBlock = {
  /** CIDR with the host bits clear. */
  readonly subnet: string;
  /** Automatic choice stays within this CIDR; an explicit address need not. */
  readonly ipRange: string | undefined;
  readonly gateway: string | undefined;
  /** Reserved addresses by name; never handed out. */
  readonly auxAddresses: Readonly<Record<string, string>>;
  /** The pool's id, when a third-party IPAM driver handed it out. */
  readonly pool?: string;
};

/** A network as it was asked for, with everything that was chosen for it. */
export type Network = {
  /** 64 hex digits. */
  readonly id: string;
  readonly name: string;
  /** `bridge`, `macvlan`, `host`, `null`, `overlay` or the name of a remote driver. */
  readonly driver: string;
  readonly scope: 'local' | 'swarm';
  /** RFC 3339 with nanoseconds. */
  readonly created: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly ipam: {
    readonly driver: string;
    readonly options: Readonly<Record<string, string>>;
    readonly blocks: readonly IpamBlock[];
    /** The subnets were asked for, so that single addresses may be too. */
    readonly chosen: boolean;
  };
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string | undefined;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Its bridge was there before, made by the operator, and stays. */
  readonly external?: boolean;
};
