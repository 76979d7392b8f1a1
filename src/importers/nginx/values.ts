import { linearRegex } from '../../base/regex.ts';
import { formatDuration, MAX_DURATION_MS } from '../../base/values.ts';

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  '': 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  M: 2_592_000_000,
  y: 31_536_000_000,
};

/**
 * A time such as `30`, `500ms` or `1h 30m` as a duration of ours, cut at the longest that there is.
 * Source: nginx, "Configuration file measurement units".
 */
export function durationOf(text: string | undefined): string | undefined {
  if (text === undefined || !/^(\d+(ms|[smhdwMy])?\s*)+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)(ms|[smhdwMy])?/g)) {
    ms += Number(digits) * (UNITS[unit ?? ''] ?? 0);
  }
  return formatDuration(Math.min(ms, MAX_DURATION_MS));
}

/** Bytes of a size such as `8k`, `10m` or `1g`. */
export function bytesOf(text: string | undefined): number | undefined {
  const [, digits, unit = ''] = /^(\d+)([kKmMgG]?)$/.exec(text ?? '') ?? [];
  if (digits === undefined) return undefined;
  const bytes = Number(digits) * 1024 ** ' kmg'.indexOf(unit.toLowerCase() || ' ');
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A size as ours is written: `8KiB`, or a plain number. */
export function sizeOf(bytes: number): string | number {
  for (const [unit, factor] of [
    ['GiB', 1024 ** 3],
    ['MiB', 1024 ** 2],
    ['KiB', 1024],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return bytes;
}

/** A count of at least one; undefined for all else. */
export function countOf(text: string | undefined): number | undefined {
  const value = /^\d{1,9}$/.test(text ?? '') ? Number(text) : 0;
  return value >= 1 ? value : undefined;
}

/** The value of a parameter `NAME=VALUE`. */
export function parameter(args: readonly string[], name: string): string | undefined {
  return args.find((arg) => arg.startsWith(`${name}=`))?.slice(name.length + 1);
}

/** A path with escapes for what has to be escaped in one. */
export function encodedPath(path: string): string {
  return path.isWellFormed() ? encodeURI(path) : path;
}

/** A PCRE expression as RE2, or why it has none. */
export function regexOf(
  source: string,
  ignoreCase: boolean,
): { readonly regex: string } | { readonly fault: string } {
  const named = source.replaceAll(/\(\?<(?=[A-Za-z_])/g, '(?P<').replaceAll('\\/', '/');
  const regex = `${ignoreCase ? '(?i)' : ''}${named}`;
  try {
    linearRegex(regex);
    return { regex };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { fault: `the expression cannot be matched in linear time: ${why}` };
  }
}
