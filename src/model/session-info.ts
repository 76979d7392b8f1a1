/** One end of a connection. */
type Peer = { readonly address: string; readonly port: number };

/** A request or session under way. */
export type SessionInfo = {
  /** Hexadecimal digits, unique on this host. */
  readonly id: string;
  readonly listener: string;
  readonly service: string | undefined;
  /** The endpoint that has it now, by its name, else its address. */
  readonly endpoint: string | undefined;
  readonly client: Peer;
  /** Where the client came in. */
  readonly local: Peer;
  readonly ageMs: number;
};

/** The last request that a listener could not read. */
export type RefusedRequest = {
  readonly listener: string;
  /** Wall-clock ms. */
  readonly at: number;
  readonly client: Peer;
  readonly reason: string;
  /** The first of them, up to 4 KiB. */
  readonly bytes: Uint8Array;
};
