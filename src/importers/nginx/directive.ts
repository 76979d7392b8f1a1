/** One directive of a file, with the block that it opens. */
export type Directive = {
  readonly name: string;
  readonly args: readonly string[];
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly block: readonly Directive[] | undefined;
};

/** A directive as it is written, without its block. */
export function written({ name, args, block }: Directive): string {
  const words = [
    name,
    ...args.map((arg) => (/^$|[\s;{}"']/.test(arg) ? JSON.stringify(arg) : arg)),
  ];
  return `${words.join(' ')}${block ? ' { … }' : ''}`;
}

/** The directives of a name, in the order of the file. */
export function named(directives: readonly Directive[], name: string): Directive[] {
  return directives.filter((one) => one.name === name);
}

/**
 * What holds at a place: its own directives and those of the blocks around it. A directive that can be
 * given several times is taken from the nearest block that has one, never from two.
 */
export class Scope {
  readonly directive: Directive | undefined;
  readonly own: readonly Directive[];
  readonly outer: Scope | undefined;

  constructor(own: readonly Directive[], outer?: Scope, directive?: Directive) {
    this.own = own;
    this.outer = outer;
    this.directive = directive;
  }

  /** The block that a directive opens, within this one. */
  inner(directive: Directive): Scope {
    return new Scope(directive.block ?? [], this, directive);
  }

  find(name: string): Directive | undefined {
    return this.all(name).at(-1);
  }

  all(...names: readonly string[]): readonly Directive[] {
    const own = this.own.filter(({ name }) => names.includes(name));
    return own.length > 0 ? own : (this.outer?.all(...names) ?? []);
  }

  /** From the outermost block to this one. */
  get chain(): readonly Scope[] {
    return [...(this.outer?.chain ?? []), this];
  }
}
