type Node = {
  readonly children: Map<string, Node>;
  readonly exact: number[];
  readonly prefix: number[];
};

function emptyNode(): Node {
  return { children: new Map(), exact: [], prefix: [] };
}

/**
 * Numbers by exact path or by prefix (`/a/*`), found by walking segments from the left. Numbers are
 * added in ascending order.
 */
export class PathTree {
  readonly #root = emptyNode();

  add(pattern: string, item: number): void {
    const prefix = pattern.endsWith('/*');
    let node = this.#root;
    for (const segment of (prefix ? pattern.slice(0, -2) : pattern).split('/').slice(1)) {
      let next = node.children.get(segment);
      if (!next) {
        next = emptyNode();
        node.children.set(segment, next);
      }
      node = next;
    }
    const list = prefix ? node.prefix : node.exact;
    if (list.at(-1) !== item) list.push(item);
  }

  /** The lists of every pattern that a path meets. */
  find(path: string): readonly number[][] {
    const found: number[][] = [];
    if (!path.startsWith('/')) return found;
    let node: Node = this.#root;
    let start = 1;
    for (;;) {
      if (node.prefix.length > 0) found.push(node.prefix);
      if (start > path.length) break;
      const slash = path.indexOf('/', start);
      const end = slash < 0 ? path.length : slash;
      const next = node.children.get(path.slice(start, end));
      if (!next) return found;
      node = next;
      start = end + 1;
    }
    if (node.exact.length > 0) found.push(node.exact);
    return found;
  }
}
