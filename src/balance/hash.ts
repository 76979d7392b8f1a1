/** 2^32 divided by the golden ratio; steps by it visit 32-bit space evenly. */
const GOLDEN = 0x9e3779b9;

/** Spreads every input bit over all 32 bits. Source: MurmurHash3 fmix32, A. Appleby. */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * 32-bit hash of a balancing key: the rounds of MurmurHash3_x86_32 over UTF-16 units. The same in
 * every process and release, for clients stay with their endpoint by it; not for secrets.
 */
export function hashKey(text: string): number {
  let h = 0;
  for (let i = 0; i < text.length; i++) {
    let k = Math.imul(text.charCodeAt(i), 0xcc9e2d51);
    k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    h ^= k;
    h = (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
  }
  return mix32(h ^ text.length);
}

/** The `n`th hash derived from `hash`; independent for practical purposes. */
export function rehash(hash: number, n: number): number {
  return mix32(hash + Math.imul(n, GOLDEN));
}
