/** One finished session or request, as the access log tells it. */
export type AccessRecord = {
  readonly listener: string;
  readonly route: string | undefined;
  readonly service: string | undefined;
  readonly endpoint: string | undefined;
  /** The name that it was given, if any. */
  readonly endpointName?: string | undefined;
  readonly client: string;
  readonly clientPort: number;
  /** Wall-clock ms. */
  readonly startedAt: number;
  readonly durationMs: number;
  /** Until there was an endpoint that could take it. */
  readonly waitMs?: number | undefined;
  /** From then on until the endpoint's first answer, connecting included. */
  readonly responseMs?: number | undefined;
  /** Times that it was sent again. */
  readonly retries: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Where the client came in. */
  readonly local?: { readonly address: string; readonly port: number } | undefined;
  /** Of a client that spoke TLS. */
  readonly tls?: { readonly version: string; readonly cipher: string } | undefined;
  /** `ok`, or why it ended otherwise. */
  readonly outcome: string;
  readonly http?: {
    readonly method: string;
    readonly authority: string;
    readonly target: string;
    readonly version: string;
    readonly status: number;
    readonly referer: string | undefined;
    readonly userAgent: string | undefined;
  };
};

/** What a worker has open at the moment that a record is written. */
export type LoadNow = {
  readonly worker: number;
  readonly listener: number;
  readonly service: number;
  readonly endpoint: number;
  readonly queue: number;
  /** Name of this machine. */
  readonly host: string;
};

/** Where records go. */
export type AccessLog = {
  write(record: AccessRecord): void;
  /** Opens the file anew, which a rotation has moved away. */
  reopen(): void;
  /** Writes what it holds and lets go of the file; resolves when that is done or cannot be. */
  close(): Promise<void>;
};
