/** What maps are read with. */
type MapSource = {
  readonly readLines: (path: string) => readonly string[] | undefined;
  readonly unreadable: (what: string, path: string) => string;
};

export type MapLine = { readonly key: string; readonly value: string };

/** A sample that is looked up in a file. */
export type MapLookup = {
  /** How keys are matched, such as `str` or `beg`. */
  readonly way: string;
  /** In the order in which they are tried; what is tried in vain has another value or none. */
  readonly lines: readonly MapLine[];
  readonly fallback: string | undefined;
  /** The words of a criterion that some keys fit. */
  readonly criterion: (keys: readonly string[]) => string[];
};

const MAX_LINES = 2000;
const SHAPE =
  /^(.+),map(?:_(str|beg|end|dom|reg|sub|dir|ip))?(?:_(?:str|int|ip))?\(([^,)]+)(?:,([^)]*))?\)$/;

/**
 * Reads `path,lower,map_beg(FILE,DEFAULT)` with its file; undefined: it is no map; a text: why it
 * cannot be read. Source: HAProxy 2.6 manual, converter `map`.
 */
export function mapLookup(expression: string, source: MapSource): MapLookup | string | undefined {
  const shape = SHAPE.exec(expression);
  if (!shape) return undefined;
  const [, fetch = '', way = 'str', path = '', fallback] = shape;
  const read = source.readLines(path);
  if (!read) return source.unreadable(`the map ${path}`, path);
  if (read.length > MAX_LINES) return `the map has more than ${MAX_LINES} lines`;
  const lines = read.flatMap((line): MapLine[] => {
    const [, key = '', value = ''] = /^(\S+)\s+(.*?)\s*$/.exec(line) ?? [];
    return value === '' ? [] : [{ key, value }];
  });
  // Of the starts that fit, the longest counts; of the same keys the first.
  if (way === 'beg') lines.sort((a, b) => b.key.length - a.key.length);
  const first = new Map(lines.toReversed().map((line) => [line.key, line]));
  const match = way === 'ip' ? [] : ['-m', way];
  return {
    way,
    lines: lines.filter((line) => first.get(line.key) === line),
    fallback: fallback?.trim(),
    criterion: (keys) => [fetch, ...match, '--', ...keys],
  };
}
