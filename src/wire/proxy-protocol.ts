import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** An address in a PROXY header. */
export type ProxyAddress = { readonly address: string; readonly port: number };

/** A type-length-value of a v2 header, unread. */
export type ProxyHeaderTlv = { readonly type: number; readonly value: Buffer };

/** What a PROXY header says; no source for LOCAL, UNKNOWN and addresses that are not IP. */
export type ProxyHeader = {
  readonly source?: ProxyAddress;
  readonly destination?: ProxyAddress;
  readonly tlvs: readonly ProxyHeaderTlv[];
};

/** A step of decoding; `consumed` counts the header's bytes. */
export type ProxyDecoding =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'value'; readonly header: ProxyHeader; readonly consumed: number }
  | { readonly kind: 'error'; readonly reason: string };

const V1_PREFIX = Buffer.from('PROXY ');
const V1_MAX = 107;
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEAD = 16;
const V2_MAX = 4096;
const CRC32C = 0x03;
const NOOP = 0x04;
const ADDRESS_BYTES = [0, 12, 36, 216];

const NEED_MORE: ProxyDecoding = { kind: 'need-more' };
const error = (reason: string): ProxyDecoding => ({ kind: 'error', reason });

/**
 * Reads a v1 (at most 107 bytes) or v2 (at most 4 KiB) header from everything received so far. A
 * wrong byte is refused at once. Source: the PROXY protocol, versions 1 and 2.
 */
export function decodeProxyHeader(buffer: Buffer): ProxyDecoding {
  if (begins(buffer, V2_SIGNATURE)) return decodeV2(buffer);
  if (begins(buffer, V1_PREFIX)) return decodeV1(buffer);
  return error('signature');
}

/** Whether the buffer and the prefix agree as far as both go. */
function begins(buffer: Buffer, prefix: Buffer): boolean {
  const size = Math.min(buffer.length, prefix.length);
  return buffer.subarray(0, size).equals(prefix.subarray(0, size));
}

function decodeV1(buffer: Buffer): ProxyDecoding {
  const end = buffer.subarray(0, V1_MAX).indexOf('\r\n');
  if (end < 0) return buffer.length < V1_MAX ? NEED_MORE : error('too-long');
  const fields = buffer.toString('latin1', 0, end).split(' ');
  const consumed = end + 2;
  const [, family, from = '', to = '', fromPort = '', toPort = ''] = fields;
  if (family === 'UNKNOWN') return { kind: 'value', header: { tlvs: [] }, consumed };
  if (family !== 'TCP4' && family !== 'TCP6') return error('family');
  const valid = family === 'TCP4' ? isIPv4 : isIPv6;
  if (fields.length !== 6) return error('fields');
  if (!valid(from) || !valid(to) || from.includes('%') || to.includes('%')) return error('address');
  const ports = [fromPort, toPort].map(portNumber);
  const [sourcePort, destinationPort] = ports;
  if (sourcePort === undefined || destinationPort === undefined) return error('port');
  const header: ProxyHeader = {
    source: { address: canonical(from), port: sourcePort },
    destination: { address: canonical(to), port: destinationPort },
    tlvs: [],
  };
  return { kind: 'value', header, consumed };
}

function portNumber(text: string): number | undefined {
  const value = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : 65_536;
  return value <= 65_535 ? value : undefined;
}

/** One text for one address: compressed, and IPv4 where IPv6 only wraps it. */
function canonical(address: string): string {
  if (isIPv4(address)) return address;
  const text = new SocketAddress({ address, family: 'ipv6' }).address;
  const mapped = text.replace(/^::ffff:/i, '');
  return isIPv4(mapped) ? mapped : text;
}

function decodeV2(buffer: Buffer): ProxyDecoding {
  if (buffer.length < V2_HEAD) return NEED_MORE;
  const [versionCommand = 0, family = 0] = buffer.subarray(12, 14);
  const consumed = V2_HEAD + buffer.readUInt16BE(14);
  if (versionCommand >> 4 !== 2) return error('version');
  const command = versionCommand & 0x0f;
  if (command > 1) return error('command');
  const addressBytes = ADDRESS_BYTES[family >> 4];
  if (addressBytes === undefined || (family & 0x0f) > 2) return error('family');
  if (consumed > V2_MAX) return error('too-long');
  if (buffer.length < consumed) return NEED_MORE;
  // A receiver has to discard all that follows LOCAL.
  if (command === 0) return { kind: 'value', header: { tlvs: [] }, consumed };
  const whole = buffer.subarray(0, consumed);
  if (whole.length < V2_HEAD + addressBytes) return error('length');
  const tlvs = readTlvs(whole, V2_HEAD + addressBytes);
  if (typeof tlvs === 'string') return error(tlvs);
  return { kind: 'value', header: { ...addresses(whole, family), tlvs }, consumed };
}

function addresses(header: Buffer, family: number): Omit<ProxyHeader, 'tlvs'> {
  const size = { 1: 4, 2: 16 }[family >> 4];
  if (size === undefined || (family & 0x0f) === 0) return {};
  const at = (offset: number) => addressText(header.subarray(offset, offset + size));
  const ports = V2_HEAD + 2 * size;
  return {
    source: { address: at(V2_HEAD), port: header.readUInt16BE(ports) },
    destination: { address: at(V2_HEAD + size), port: header.readUInt16BE(ports + 2) },
  };
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return canonical((bytes.toString('hex').match(/.{4}/g) ?? []).join(':'));
}

/** The TLVs from `start` on, or what is wrong with them. */
function readTlvs(header: Buffer, start: number): ProxyHeaderTlv[] | string {
  const tlvs: ProxyHeaderTlv[] = [];
  let at = start;
  while (at < header.length) {
    if (at + 3 > header.length) return 'tlv';
    const type = header.readUInt8(at);
    const end = at + 3 + header.readUInt16BE(at + 1);
    if (end > header.length) return 'tlv';
    if (type === CRC32C && !checksumHolds(header, at + 3, end)) return 'checksum';
    tlvs.push({ type, value: Buffer.from(header.subarray(at + 3, end)) });
    at = end;
  }
  return tlvs;
}

function checksumHolds(header: Buffer, from: number, to: number): boolean {
  if (to - from !== 4) return false;
  const blank = Buffer.from(header).fill(0, from, to);
  return crc32c(blank) === header.readUInt32BE(from);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli) of the bytes. Source: RFC 9260, appendix A. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * Writes a header for a TCP connection. Ends that are not IP addresses become UNKNOWN or UNSPEC; of
 * mixed families, IPv4 is written as IPv6. v1 carries no TLVs; v2 carries its own checksum.
 */
export function encodeProxyHeader(
  version: 'v1' | 'v2',
  source: ProxyAddress,
  destination: ProxyAddress,
  tlvs: readonly ProxyHeaderTlv[],
): Buffer {
  const ends = [source, destination];
  const known = ends.every(({ address }) => isIPv4(address) || isIPv6(address));
  const four = ends.every(({ address }) => isIPv4(address));
  if (version === 'v2') return encodeV2(known ? ends : [], four, tlvs);
  if (!known) return Buffer.from('PROXY UNKNOWN\r\n');
  const texts = ends.map(({ address }) =>
    !four && isIPv4(address) ? `::ffff:${address}` : address.replace(/%.*/, ''),
  );
  const family = four ? 'TCP4' : 'TCP6';
  return Buffer.from(
    `PROXY ${family} ${texts.join(' ')} ${source.port} ${destination.port}\r\n`,
    'latin1',
  );
}

function encodeV2(ends: ProxyAddress[], four: boolean, tlvs: readonly ProxyHeaderTlv[]): Buffer {
  const ports = Buffer.alloc(ends.length * 2);
  for (const [index, { port }] of ends.entries()) ports.writeUInt16BE(port, index * 2);
  const bytes = ends.map(({ address }) => (four ? ipv4Bytes(address) : ipv6Bytes(address)));
  // A checksum of the header that came in does not hold for the one that goes out.
  const kept = tlvs.filter(({ type }) => type !== CRC32C && type !== NOOP);
  const body = [...bytes, ports, ...kept.map(encodeTlv)];
  const checksum = encodeTlv({ type: CRC32C, value: Buffer.alloc(4) });
  const head = Buffer.alloc(V2_HEAD);
  V2_SIGNATURE.copy(head);
  head.writeUInt8(0x21, 12);
  head.writeUInt8(ends.length === 0 ? 0x00 : four ? 0x11 : 0x21, 13);
  const size = body.reduce((sum, part) => sum + part.length, checksum.length);
  head.writeUInt16BE(size, 14);
  const whole = Buffer.concat([head, ...body, checksum]);
  whole.writeUInt32BE(crc32c(whole), whole.length - 4);
  return whole;
}

function encodeTlv({ type, value }: ProxyHeaderTlv): Buffer {
  const head = Buffer.alloc(3);
  head.writeUInt8(type);
  head.writeUInt16BE(value.length, 1);
  return Buffer.concat([head, value]);
}

function ipv4Bytes(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

function ipv6Bytes(address: string): Buffer {
  if (isIPv4(address)) return ipv6Bytes(`::ffff:${address}`);
  const embedded = /[\d.]+$/.exec(address)?.[0] ?? '';
  const tail = isIPv4(embedded) ? ipv4Bytes(embedded).toString('hex') : undefined;
  const hex = tail
    ? `${address.slice(0, -embedded.length)}${tail.slice(0, 4)}:${tail.slice(4)}`
    : address.replace(/%.*/, '');
  const [left = [], right = []] = hex.split('::').map((half) => (half ? half.split(':') : []));
  const gap = new Array<string>(8 - left.length - right.length).fill('0');
  const groups = [...left, ...gap, ...right].map((group) => group.padStart(4, '0'));
  return Buffer.from(groups.join(''), 'hex');
}
