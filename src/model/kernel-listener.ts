import type { Transport } from './host-intent.ts';

/** An address and port that packets are sent on to; never a name. */
export type KernelTarget = { readonly address: string; readonly port: number };

/** An address of this host that the kernel takes connections on. */
export type KernelBind = {
  /** Undefined: every address of the host but those of the loopback. */
  readonly address: string | undefined;
  readonly families: readonly (4 | 6)[];
  readonly port: number;
};

/**
 * A listener of the gateway as the kernel carries it. The gateway's sockets stay open behind it:
 * what has no slot, and what comes over the loopback, reaches them.
 */
export type KernelListener = {
  /** Unique in the gateway. */
  readonly name: string;
  readonly transport: Exclude<Transport, 'sctp'>;
  readonly binds: readonly KernelBind[];
  /** Each takes the same share of new flows; a target of more weight occurs several times. */
  readonly slots: readonly KernelTarget[];
  /** Found dead: their flows are cut. Flows to what is in neither list go on. */
  readonly dead: readonly KernelTarget[];
  readonly balance: 'round-robin' | 'random' | 'source-hash';
};

/** Packets and bytes, with their headers. */
export type Traffic = { readonly packets: number; readonly bytes: number };

/** What the kernel has counted of a listener since its table was made. */
export type ListenerTraffic = {
  readonly name: string;
  /** Flows opened. */
  readonly opened: number;
  /** From clients. */
  readonly received: Traffic;
  /** To clients. */
  readonly sent: Traffic;
  /** Flows open now, by target. */
  readonly active: readonly (KernelTarget & { readonly flows: number })[];
};

/** Why a listener cannot be carried; it is not in the kernel then. */
export type CarryFailure = { readonly name: string; readonly message: string };

/** The most listeners that the kernel carries at the same time. */
export const MAX_KERNEL_LISTENERS = 4095;
/** The most slots of one listener. */
export const MAX_KERNEL_SLOTS = 1024;
