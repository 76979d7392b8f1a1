import type { ForwardIntent } from './host-intent.ts';

/** A subnet of an overlay, or an IPv4 and an IPv6 one whose members share their links. */
export type OverlaySegment = {
  /** Tells its frames from others' in the tunnels. */
  readonly vni: number;
  readonly subnets: readonly string[];
  /** With prefix length; the same on every host, for ways to the network's other segments. */
  readonly gateways: readonly string[];
};

/** An overlay that sandboxes of this host join. */
export type OverlayIntent = {
  /** The network's id. */
  readonly id: string;
  readonly segments: readonly OverlaySegment[];
  /** Of the links inside. */
  readonly mtu: number;
  readonly encrypted: boolean;
};

/** A member of an overlay on another host. */
export type OverlayPeer = {
  readonly network: string;
  readonly addresses: readonly string[];
  readonly mac: string;
  /** The tunnel's end on its host. */
  readonly tunnel: string;
};

/** An address of a service inside one network, which no member has. */
export type VipIntent = {
  readonly network: string;
  readonly address: string;
  /** Members that take turns for new connections; none: they are refused. */
  readonly targets: readonly string[];
  /** Members that keep the connections that they have. */
  readonly draining: readonly string[];
  /** Those of them whose host is down: what they have not answered begins anew elsewhere. */
  readonly lost: readonly string[];
};

/** A member here of one network that is not open to every other one. */
export type AdmissionIntent = {
  readonly network: string;
  /** Its address. */
  readonly member: string;
  /** Addresses that may begin connections to it; anybody else is refused. */
  readonly sources: readonly string[];
};

/** Another host of the mesh. */
export type MeshNode = {
  readonly id: string;
  /** Of its end of the mesh's link. */
  readonly mac: string;
  readonly tunnel: string;
  /**
   * Those that its own requests may come from: led back to it, they would look like forged ones, and
   * so they take the ingress host's.
   */
  readonly addresses: readonly string[];
};

/** A port of a service whose tasks answer clients themselves, not by the host that was asked. */
export type DirectForward = {
  readonly transport: ForwardIntent['transport'];
  readonly port: number;
  readonly balance: ForwardIntent['balance'];
  /** For each task elsewhere the id of its host. */
  readonly hosts: readonly string[];
  /** Tasks here by their sandboxes' addresses. */
  readonly targets: ForwardIntent['targets'];
};

/**
 * What makes the ports of the cluster's services answer on this host. Tasks have a mesh address,
 * which no link has: it leads to their host, and there to their sandbox.
 */
export type MeshIntent = {
  readonly vni: number;
  readonly mtu: number;
  /** Of this host's own end of the link. */
  readonly mac: string;
  /** Addresses of this host that requests from its own sandboxes and its loopback come from. */
  readonly sources: { readonly ipv4: string | undefined; readonly ipv6: string | undefined };
  /** Without this host. */
  readonly nodes: readonly MeshNode[];
  /** Mesh addresses of tasks on other hosts. */
  readonly remote: readonly { readonly address: string; readonly node: string }[];
  /** Mesh addresses of tasks here, and their sandboxes' addresses on a bridge network. */
  readonly local: readonly { readonly address: string; readonly target: string }[];
  /** Targets of no forward any more whose connections go on. */
  readonly draining: readonly string[];
  /** Those of them whose host is down: what they have not answered begins anew elsewhere. */
  readonly lost: readonly string[];
  /** Ports on every address of the host; targets are mesh addresses or, of tasks here, `target`s. */
  readonly forwards: readonly ForwardIntent[];
  /** Which of these ports clients outside are answered on by the tasks' hosts. */
  readonly direct: readonly DirectForward[];
};

/** What a cluster has the kernel of one of its hosts show, beside the host's own intent. */
export type ClusterIntent = {
  /** This host's end of all tunnels, and the UDP port of all ends. */
  readonly tunnel: { readonly local: string; readonly port: number };
  readonly overlays: readonly OverlayIntent[];
  readonly peers: readonly OverlayPeer[];
  readonly vips: readonly VipIntent[];
  readonly admissions: readonly AdmissionIntent[];
  /** Keys of encrypted overlays, and whom this host shares one with. */
  readonly encryption: {
    /** Of this host's network stack: another one after each boot. */
    readonly epoch: string;
    /** The newest last, 20 bytes in hex each; none: what was made of them goes. */
    readonly keys: readonly { readonly id: number; readonly key: string }[];
    /** Tunnels' ends of hosts that have members of them, with those hosts' epochs. */
    readonly peers: readonly { readonly tunnel: string; readonly epoch: string }[];
  };
  /** Undefined: no port is published by the cluster. */
  readonly mesh: MeshIntent | undefined;
};
