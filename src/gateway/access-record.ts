/** One finished session or request, as the access log tells it. */
export type AccessRecord = {
  readonly listener: string;
  readonly route: string | undefined;
  readonly service: string | undefined;
  readonly endpoint: string | undefined;
  readonly client: string;
  readonly clientPort: number;
  /** Wall-clock ms. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
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
