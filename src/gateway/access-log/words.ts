import type { AccessRecord } from '../access-record.ts';

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** Control characters and quotes made visible, so that a line stays a line. */
export function clean(text: string | undefined): string {
  return (text ?? '-').replaceAll(
    /[\x00-\x1f\x7f"\\]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** A wall-clock time in the parts that logs are made of; `offset` is that of the zone from UTC. */
export function clockOf(
  at: number,
  zone: 'utc' | 'local' = 'utc',
): { day: string; time: string; ms: string; offset: string } {
  const minutes = zone === 'utc' ? 0 : -new Date(at).getTimezoneOffset();
  const date = new Date(at + minutes * 60_000);
  const [sign, size] = [minutes < 0 ? '-' : '+', Math.abs(minutes)];
  const offset = `${sign}${two(Math.floor(size / 60))}${two(size % 60)}`;
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return { day, time, ms: String(date.getUTCMilliseconds()).padStart(3, '0'), offset };
}

/** `GET /path HTTP/1.1`. */
export function requestLine({ http }: AccessRecord): string {
  return http ? `${clean(http.method)} ${clean(http.target)} HTTP/${http.version}` : '-';
}
