import { createHash } from 'node:crypto';
import { type Cidr, parseCidr } from './cidr.ts';

/** A block of unique local addresses that belongs to an id. Source: RFC 4193 section 3.2. */
export function privateBlock(id: string): Cidr {
  const digits = createHash('sha256').update(id).digest('hex').slice(0, 10);
  const text = `fd${digits.slice(0, 2)}:${digits.slice(2, 6)}:${digits.slice(6, 10)}::/48`;
  const cidr = parseCidr(text);
  if (!cidr) throw new RangeError(`${text} is no block`);
  return cidr;
}
