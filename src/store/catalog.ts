/** Where one instance of a service answers to everybody. */
export type CatalogEntry = {
  /** No other entry's. */
  readonly id: string;
  readonly service: string;
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  /** The host that it is on. */
  readonly node: { readonly name: string; readonly address: string };
};

/** A directory of services that others read, beside a store. */
export interface ServiceCatalog {
  /**
   * Everything that this owner has in it from now on; what others have is not touched. Rejects when
   * the directory does not answer.
   */
  replace(owner: string, entries: readonly CatalogEntry[]): Promise<void>;
}
