/** How the outside is read; injected, so that the loader itself touches nothing. */
export type ConfigIo = {
  /** A file's text, or undefined when it cannot be read. */
  readonly readFile: (path: string) => string | undefined;
  /** Why a file cannot be read, such as "permission denied". */
  readonly whyUnreadable?: (path: string) => string | undefined;
  /** Names in a directory, or undefined when it is none. */
  readonly listDirectory?: (path: string) => readonly string[] | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Wall-clock ms; without it nothing is said of the time of certificates. */
  readonly wallMs?: () => number;
};
