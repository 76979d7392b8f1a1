/** What agents that a store has on the cluster's hosts know of one another. */
export interface HostWatch {
  /**
   * Tells the addresses of hosts whose agent the others have lost, whenever they change, until the
   * returned function is called. While they cannot be read there are none.
   */
  watch(listener: (lost: ReadonlySet<string>) => void): () => void;
}
