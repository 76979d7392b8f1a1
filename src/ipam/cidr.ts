import ipaddr from 'ipaddr.js';

export type Family = 4 | 6;

/** One address as a number, so that both families are counted alike. */
export type Address = { readonly family: Family; readonly value: bigint };

/** A block of addresses with its host bits clear. */
export type Cidr = { readonly family: Family; readonly base: bigint; readonly bits: number };

const WIDTH = { 4: 32, 6: 128 } as const;
const BYTE = 8n;

/** The number of bits of an address. */
export function width(family: Family): number {
  return WIDTH[family];
}

/** A four-part decimal IPv4 address or an IPv6 address without a zone; undefined: neither. */
export function parseAddress(text: string): Address | undefined {
  const parser = text.includes(':')
    ? ipaddr.IPv6
    : ipaddr.IPv4.isValidFourPartDecimal(text)
      ? ipaddr.IPv4
      : undefined;
  if (!parser?.isValid(text) || text.includes('%')) return undefined;
  const bytes = parser.parse(text).toByteArray();
  const value = bytes.reduce((sum, byte) => (sum << BYTE) | BigInt(byte), 0n);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** `a.b.c.d` or the form of RFC 5952. */
export function formatAddress({ family, value }: Address): string {
  const bytes: number[] = [];
  for (let shift = BigInt(width(family)) - BYTE; shift >= 0n; shift -= BYTE) {
    bytes.push(Number((value >> shift) & 0xffn));
  }
  const address = ipaddr.fromByteArray(bytes);
  return address instanceof ipaddr.IPv6 ? address.toRFC5952String() : address.toString();
}

function clearHostBits(family: Family, value: bigint, bits: number): bigint {
  const host = BigInt(width(family) - bits);
  return (value >> host) << host;
}

/** `address/bits` as an address in a block; undefined: it is not of that form. */
export function parsePrefix(text: string): { address: Address; cidr: Cidr } | undefined {
  const [, head = '', tail = ''] = /^(.+)\/(\d{1,3})$/.exec(text) ?? [];
  const address = parseAddress(head);
  const bits = Number(tail);
  if (!address || bits > width(address.family)) return undefined;
  const base = clearHostBits(address.family, address.value, bits);
  return { address, cidr: { family: address.family, base, bits } };
}

/** A block; undefined: not one, or with host bits set. */
export function parseCidr(text: string): Cidr | undefined {
  const parsed = parsePrefix(text);
  return parsed && parsed.address.value === parsed.cidr.base ? parsed.cidr : undefined;
}

export function formatCidr({ family, base, bits }: Cidr): string {
  return `${formatAddress({ family, value: base })}/${bits}`;
}

/** The highest address of a block. */
export function lastOf({ family, base, bits }: Cidr): bigint {
  return base + (1n << BigInt(width(family) - bits)) - 1n;
}

export function contains(cidr: Cidr, { family, value }: Address): boolean {
  return family === cidr.family && value >= cidr.base && value <= lastOf(cidr);
}

/** Whether `inner` lies in `outer` as a whole. */
export function covers(outer: Cidr, inner: Cidr): boolean {
  return outer.bits <= inner.bits && contains(outer, { family: inner.family, value: inner.base });
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return covers(a, b) || covers(b, a);
}
