import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { parseDuration, parsePercent, parseSize } from '../base/values.ts';

/**
 * The scalar fields of the configuration language. Each reads what a person writes and yields the
 * value that the code uses; a message says what would be valid.
 */
function scalar<T>(parse: (text: string) => T | undefined, valid: string, example: string) {
  return z
    .string()
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.addIssue({
        code: 'custom',
        message: `"${text}" is not ${valid}, such as ${example}`,
      });
      return z.NEVER;
    })
    .meta({ valid, examples: [example] });
}

/** Milliseconds, written as `"250ms"`, `"2s"`, `"5m"`, `"1h"` or `"1d"`. */
export const duration = scalar(parseDuration, 'a duration with a unit (us ms s m h d)', '"2s"');

/** Bytes, written as `"16KiB"`, `"10MB"` or a plain number. */
export const size = z.union([
  z.int().min(0),
  scalar(parseSize, 'a size (B KB MB GB KiB MiB GiB)', '"16KiB"'),
]);

/** A ratio from 0 to 1, written as `"50%"`. */
export const percent = scalar(parsePercent, 'a percentage from 0% to 100%', '"50%"');

/** An address block as text in CIDR form; a lone address is the block of itself. */
export const cidr = scalar(
  (text) => {
    if (ipaddr.isValidCIDR(text)) return text;
    if (!isAddress(text)) return undefined;
    return text.includes(':') ? `${text}/128` : `${text}/32`;
  },
  'an address or a CIDR block',
  '"10.0.0.0/8"',
);

/** A count of at least one. */
export const count = z.int().min(1);

/** The name of a header, a token. Source: RFC 9110 section 5.1. Kept in lower case. */
export const headerName = scalar(
  (text) => (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text) ? text.toLowerCase() : undefined),
  'a header name',
  '"x-tier"',
);

/** The value of a header: no control characters. Source: RFC 9110 section 5.5. */
export const headerValue = scalar(
  (text) => (/^[\t\x20-\x7e\x80-\xff]*$/.test(text) ? text : undefined),
  'a header value without control characters',
  '"api"',
);

/** What of a request keeps it with others of the same value. */
export const balanceKey = z.union([
  z.enum(['source', 'path', 'uri']).describe('uri: the path with its query.'),
  z.strictObject({ header: headerName.describe('Its value.') }),
  z.strictObject({ cookie: z.string().min(1).describe('Its value.') }),
  z.strictObject({ query: z.string().min(1).describe('Value of the parameter, as it is sent.') }),
]);

/** Status codes. */
export const statusRange = z
  .union([
    z.int().min(100).max(599).transform(String),
    z.string().regex(/^\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*$/),
  ])
  .describe('Codes and ranges: 200, "200-399", "200,204".');

/** Whether a code is among those that `statusRange` names. */
export function isStatusOf(ranges: string, status: number): boolean {
  return ranges.split(',').some((range) => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return status >= from && status <= to;
  });
}

/** A path to a file, absolute or relative to the file that names it. */
export const filePath = z.string().min(1);

/** One value or a list of them; always a list afterwards. */
export function oneOrMore<T extends z.ZodType>(item: T) {
  return z.union([item.transform((one) => [one]), z.array(item).min(1)]);
}

/** A secret: written out, taken from the environment or read from a file; resolved at load. */
export const secret = z.union([
  z.string().min(1),
  z.strictObject({
    env: z.string().min(1).describe('Name of the environment variable that holds it.'),
  }),
  z.strictObject({ file: filePath.describe('File that holds it; read again on a reload.') }),
]);

/** Whether `text` is a strict IPv4 or IPv6 address (no octal or short forms). */
export function isAddress(text: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(text) || ipaddr.IPv6.isValid(text);
}
