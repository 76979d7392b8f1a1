/** Files that outlive the containers which see them. */
export type Volume = {
  readonly name: string;
  /** RFC 3339. */
  readonly created: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The folder of its files on the host. */
  readonly path: string;
};
