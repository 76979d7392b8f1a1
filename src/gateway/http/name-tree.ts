type Node<T> = {
  readonly children: Map<string, Node<T>>;
  exact: T | undefined;
  wildcard: T | undefined;
};

function emptyNode<T>(): Node<T> {
  return { children: new Map(), exact: undefined, wildcard: undefined };
}

/**
 * Values by host name or `*.suffix` (one or more labels below the suffix). A look-up takes as many
 * steps as the name shares labels with a pattern, however many patterns there are.
 */
export class NameTree<T> {
  readonly #root: Node<T> = emptyNode<T>();

  /** The value of a pattern in lower case, made when there is none. */
  at(pattern: string, make: () => T): T {
    const wild = pattern.startsWith('*.');
    let node = this.#root;
    for (const label of (wild ? pattern.slice(2) : pattern).split('.').reverse()) {
      let next = node.children.get(label);
      if (!next) {
        next = emptyNode<T>();
        node.children.set(label, next);
      }
      node = next;
    }
    const value = (wild ? node.wildcard : node.exact) ?? make();
    if (wild) node.wildcard = value;
    else node.exact = value;
    return value;
  }

  /** The values of all patterns that a name meets: exact, then wildcards, the longest first. */
  find(name: string): T[] {
    const found: T[] = [];
    let node: Node<T> = this.#root;
    let end = name.length;
    while (end >= 0) {
      const dot = end === 0 ? -1 : name.lastIndexOf('.', end - 1);
      const next = node.children.get(name.slice(dot + 1, end));
      if (!next) return found;
      node = next;
      end = dot;
      // A suffix alone is not below itself.
      if (end > 0 && node.wildcard !== undefined) found.unshift(node.wildcard);
    }
    if (node.exact !== undefined) found.unshift(node.exact);
    return found;
  }
}
