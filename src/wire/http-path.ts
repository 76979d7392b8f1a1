/** A target in the one form that is matched and forwarded. */
export type NormalTarget = { readonly path: string; readonly query: string | undefined };

const HEX = /^[0-9A-Fa-f]{2}$/;
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;

/**
 * Brings an origin-form target into normal form: escapes of unreserved characters are decoded, dot
 * segments removed, `//` kept unless they are to be merged. Undefined with a reason for what an endpoint could read differently:
 * control or raw bytes, backslashes, bad escapes, %00, climbing above the root, and %2F or %5C
 * unless kept. Source: RFC 3986 section 6.2.2.
 */
export function normalizeTarget(
  target: string,
  encodedSlashes: 'reject' | 'keep',
  slashes: 'keep' | 'merge' = 'keep',
): NormalTarget | { readonly error: string } {
  const mark = target.indexOf('?');
  const raw = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? undefined : target.slice(mark + 1);
  if (raw === '*') return { path: '*', query: undefined };
  if (/[^\x21-\x7e]|[\\#]/.test(raw)) return { error: 'bad-path-character' };
  if (query !== undefined && /[^\x21-\x7e]|#/.test(query)) return { error: 'bad-query-character' };
  const decoded = raw.includes('%') ? decodeUnreserved(raw, encodedSlashes) : raw;
  if (typeof decoded !== 'string') return decoded;
  const merged = slashes === 'merge' ? decoded.replaceAll(/\/{2,}/g, '/') : decoded;
  if (!merged.includes('/.')) return { path: merged, query };
  const path = removeDotSegments(merged);
  return path === undefined ? { error: 'path-above-root' } : { path, query };
}

function decodeUnreserved(
  raw: string,
  encodedSlashes: 'reject' | 'keep',
): string | { error: string } {
  let path = '';
  let from = 0;
  for (let at = raw.indexOf('%'); at >= 0; at = raw.indexOf('%', at + 3)) {
    const digits = raw.slice(at + 1, at + 3);
    if (!HEX.test(digits)) return { error: 'bad-escape' };
    const code = Number.parseInt(digits, 16);
    if (code === 0) return { error: 'escaped-nul' };
    if (encodedSlashes === 'reject' && (code === 0x2f || code === 0x5c)) {
      return { error: 'escaped-slash' };
    }
    const char = String.fromCharCode(code);
    path += raw.slice(from, at) + (UNRESERVED.test(char) ? char : `%${digits.toUpperCase()}`);
    from = at + 3;
  }
  return path + raw.slice(from);
}

function removeDotSegments(path: string): string | undefined {
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '..') {
      if (kept.length === 0) return undefined;
      kept.pop();
    } else if (segment !== '.') kept.push(segment);
    if (last && (segment === '.' || segment === '..')) kept.push('');
  }
  return `/${kept.join('/')}`;
}
