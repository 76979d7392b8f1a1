import type { Socket } from 'node:net';

/** One end of a connection; a unix socket's peer has the address `unix` and port 0. */
export type PeerAddress = { readonly address: string; readonly port: number };

/** What the TLS handshake of a client established. */
export type TlsInfo = {
  readonly version: string;
  readonly cipher: string;
  /** SNI in lower case, or undefined. */
  readonly serverName: string | undefined;
  readonly alpn: 'h2' | 'http/1.1' | undefined;
  /** Names that the certificate shown to the client stands for, in lower case, with wildcards. */
  readonly certificateNames: readonly string[];
  readonly client:
    | {
        readonly verified: boolean;
        readonly subject: string;
        readonly fingerprint: string;
        readonly pem: string;
      }
    | undefined;
};

/** A PROXY protocol v2 type-length-value, unread. */
export type ProxyTlv = { readonly type: number; readonly value: Buffer };

/** A client's connection after accept, access checks, PROXY header and TLS. */
export type StreamConnection = {
  /** Unique in the process, for logs. */
  readonly id: number;
  /** Plain or TLS; bytes already read have been put back, so that reading starts at the first. */
  readonly socket: Socket;
  /** The client: what the PROXY header said, or the peer. */
  readonly client: PeerAddress;
  /** The other end of the TCP connection itself. */
  readonly peer: PeerAddress;
  /** The address that the client connected to. */
  readonly local: PeerAddress;
  readonly tls: TlsInfo | undefined;
  readonly proxyTlvs: readonly ProxyTlv[];
  /** Monotonic ms at accept. */
  readonly acceptedAt: number;
};
