/** A request or session under way on a client's connection, for whoever lists them. */
export interface Work {
  /** See `nextWork`. */
  readonly serial: number;
  readonly service: string | undefined;
  /** The endpoint that has it now, by its name, else its address. */
  readonly endpoint: string | undefined;
  /** Monotonic ms. */
  readonly startedAt: number;
}

let last = 0;

/** A number of its own for a unit of work, unique in this process. */
export function nextWork(): number {
  return ++last;
}
