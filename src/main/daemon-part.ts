/** One of the planes that a daemon runs, from its start to its end. */
export type DaemonPart = {
  /** Reads its configuration again; a refusal is logged and changes nothing. */
  readonly reload: () => void;
  /** Opens log files anew, which a rotation has moved away; a part without any has none. */
  readonly reopenLogs?: () => void;
  /** Ends in order. Called once; `signal` is the reason. */
  readonly stop: (signal: string) => Promise<void>;
};
