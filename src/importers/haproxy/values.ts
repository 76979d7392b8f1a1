import { formatDuration, MAX_DURATION_MS } from '../../base/values.ts';

const UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Milliseconds of `5s`, `250` (ms) or `1h`; undefined: no time. Source: HAProxy manual, 2.5. */
export function parseTime(text: string | undefined, unit = 'ms'): number | undefined {
  const match = /^(\d+)(us|ms|s|m|h|d)?$/.exec(text ?? '');
  if (!match) return undefined;
  return Number(match[1]) * (UNITS[match[2] ?? unit] ?? 1);
}

/** A time as our configuration writes it; at most what a timer can hold, at least 1 ms. */
export function duration(ms: number): string {
  return formatDuration(Math.max(1, Math.min(MAX_DURATION_MS, Math.round(ms))));
}

/** A whole number that is not negative, or undefined. */
export function parseCount(text: string | undefined): number | undefined {
  return /^\d{1,9}$/.test(text ?? '') ? Number(text) : undefined;
}

/** An object without the keys whose value is undefined. */
export function compact<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  // exempt(as): the entries are those of the value.
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** Fields for the client's address that listeners fill themselves. */
export const KNOWN_FORWARDS: readonly string[] = ['x-forwarded-for', 'x-real-ip'];

/** The field that the words of `option forwardfor` name. */
export function forwardedField(words: readonly string[]): string {
  const at = words.indexOf('header');
  return ((at < 0 ? undefined : words[at + 1]) ?? 'x-forwarded-for').toLowerCase();
}

/** Whether an object has no key. */
export function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}
