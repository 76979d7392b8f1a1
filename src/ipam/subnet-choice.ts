import { type Cidr, lastOf, overlaps, parseCidr, width } from './cidr.ts';

/** A block that is cut into subnets of `bits`. */
export type SubnetSource = { readonly base: Cidr; readonly bits: number };

function source(base: string, bits: number): SubnetSource {
  const cidr = parseCidr(base);
  if (!cidr) throw new RangeError(`${base} is no block`);
  return { base: cidr, bits };
}

/** 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in blocks of /20. */
export const DEFAULT_SOURCES: readonly SubnetSource[] = [
  ...Array.from({ length: 15 }, (_, index) => source(`172.${17 + index}.0.0/16`, 16)),
  source('192.168.0.0/16', 20),
];

/**
 * The first subnet of the sources that overlaps nothing of `taken`; undefined: every one does.
 * Whole stretches are skipped, so the work grows with the number of taken blocks only.
 */
export function chooseSubnet(
  sources: readonly SubnetSource[],
  taken: readonly Cidr[],
): Cidr | undefined {
  for (const { base, bits } of sources) {
    const step = 1n << BigInt(width(base.family) - bits);
    const last = lastOf(base);
    let start = base.base;
    while (start <= last) {
      const candidate: Cidr = { family: base.family, base: start, bits };
      const hit = taken.find((cidr) => overlaps(cidr, candidate));
      if (!hit) return candidate;
      const after = lastOf(hit) + 1n;
      const aligned = base.base + ((after - base.base + step - 1n) / step) * step;
      start = aligned > start ? aligned : start + step;
    }
  }
  return undefined;
}
