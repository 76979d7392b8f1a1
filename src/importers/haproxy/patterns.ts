import { linearRegex, quoted } from '../../base/regex.ts';

/** A condition cut into its parts. */
export type Criterion = {
  readonly fetch: string;
  readonly argument: string;
  readonly converters: readonly string[];
  readonly match: string;
  readonly ignoreCase: boolean;
  readonly patterns: readonly string[];
};

/** Whether an expression can be matched in linear time. */
export function isLinear(source: string): boolean {
  try {
    linearRegex(source);
    return true;
  } catch {
    return false;
  }
}

/** The pattern as an expression by its way of matching; undefined: it is no expression. */
export function expression(
  { match, ignoreCase }: Pick<Criterion, 'match' | 'ignoreCase'>,
  pattern: string,
): string | undefined {
  const text = quoted(pattern);
  const shapes: Readonly<Record<string, string>> = {
    '': `^${text}$`,
    str: `^${text}$`,
    beg: `^${text}`,
    end: `${text}$`,
    sub: text,
    dir: `(?:^|/)${quoted(pattern.replaceAll(/^\/|\/$/g, ''))}(?:[/?]|$)`,
    dom: `(?:^|[./:?])${quoted(pattern.replaceAll(/^\.|\.$/g, ''))}(?:[./:?]|$)`,
    reg: pattern,
  };
  const shape = Object.hasOwn(shapes, match) ? shapes[match] : undefined;
  const whole = shape !== undefined && ignoreCase ? `(?i)${shape}` : shape;
  return whole !== undefined && isLinear(whole) ? whole : undefined;
}

/** Whether a number meets `80 443`, `gt 1024` or `1:99`; undefined: not understood. */
export function comparison(
  [first = '', ...rest]: readonly string[],
  value: number,
): boolean | undefined {
  const operators: Readonly<Record<string, (limit: number) => boolean>> = {
    eq: (limit) => value === limit,
    gt: (limit) => value > limit,
    ge: (limit) => value >= limit,
    lt: (limit) => value < limit,
    le: (limit) => value <= limit,
  };
  const operator = Object.hasOwn(operators, first) ? operators[first] : undefined;
  if (operator) return operator(Number(rest[0]));
  const ranges = [first, ...rest].map((one) => one.split(':').map(Number));
  return ranges.some(([from = 0, to = from]) => value >= from && value <= to);
}

/** The whole numbers that meet a comparison, as a range; undefined: it is none of one range. */
export function rangeOf(
  patterns: readonly string[],
): { atLeast?: number; below?: number } | undefined {
  const [first = '', second = ''] = patterns;
  const ranged = /^(\d+)(?::(\d+))?$/.exec(first);
  if (ranged && patterns.length === 1) {
    return { atLeast: Number(ranged[1]), below: Number(ranged[2] ?? ranged[1]) + 1 };
  }
  if (patterns.length !== 2 || !/^\d+$/.test(second)) return undefined;
  const limit = Number(second);
  if (first === 'eq') return { atLeast: limit, below: limit + 1 };
  if (first === 'gt') return { atLeast: limit + 1 };
  if (first === 'ge') return { atLeast: limit };
  if (first === 'lt') return { below: limit };
  return first === 'le' ? { below: limit + 1 } : undefined;
}

/** Whether a text that is known meets `-m beg a b` and the like; undefined: not understood. */
export function literalFits(text: string, words: readonly string[]): boolean | undefined {
  const flags = { match: 'str', ignoreCase: false };
  const patterns: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '-i') flags.ignoreCase = true;
    else if (word === '-m') flags.match = words[++at] ?? '';
    else if (word === '-f') return undefined;
    else if (word !== '--') patterns.push(word);
  }
  if (flags.match === 'found') return true;
  const truth = /^(true|1)$/.test(text);
  if (flags.match === 'bool' || (flags.match === 'str' && patterns.length === 0)) {
    return truth === (patterns.length === 0 || /^(true|1|yes|on)$/.test(patterns[0] ?? ''));
  }
  if (flags.match === 'int' || /^(eq|gt|ge|lt|le)$/.test(patterns[0] ?? '')) {
    return comparison(patterns, Number(text));
  }
  const regexes = patterns.map((one) => expression(flags, one));
  if (regexes.some((one) => one === undefined)) return undefined;
  return regexes.some((one) => one !== undefined && linearRegex(one).test(text));
}

/** Codes as a list of codes and ranges, such as `200-299,304`. */
export function rangesOf(codes: readonly number[]): string {
  const ranges: { from: number; to: number }[] = [];
  for (const code of codes) {
    const last = ranges.at(-1);
    if (last?.to === code - 1) last.to = code;
    else ranges.push({ from: code, to: code });
  }
  return ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}
