type Node = {
  readonly children: Map<string, Node>;
  readonly exact: number[];
  readonly prefix: number[];
  /** By what the rest of a path starts with, up to the middle of a segment. */
  readonly starts: Map<string, number[]>;
};

function emptyNode(): Node {
  return { children: new Map(), exact: [], prefix: [], starts: new Map() };
}

/**
 * Numbers by exact path, by prefix (`/a/*`) or by start (`/a*`), found by walking segments from the
 * left. Numbers are added in ascending order.
 */
export class PathTree {
  readonly #root = emptyNode();

  add(pattern: string, item: number): void {
    const prefix = pattern.endsWith('/*');
    const start = !prefix && pattern.endsWith('*');
    const slash = pattern.lastIndexOf('/');
    let node = this.#root;
    for (const segment of (prefix || start ? pattern.slice(0, slash) : pattern)
      .split('/')
      .slice(1)) {
      let next = node.children.get(segment);
      if (!next) {
        next = emptyNode();
        node.children.set(segment, next);
      }
      node = next;
    }
    const text = pattern.slice(slash + 1, -1);
    const list = start ? (node.starts.get(text) ?? []) : prefix ? node.prefix : node.exact;
    if (start) node.starts.set(text, list);
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
      for (const [text, list] of node.starts) if (path.startsWith(text, start)) found.push(list);
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
