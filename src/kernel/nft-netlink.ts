import ipaddr from 'ipaddr.js';
import type { PartType, SetSpec, TableChange, TableSpec } from './nft-table.ts';

/**
 * Changes of elements as the kernel takes them: what the `nft` command sends for the same text, in
 * a hundredth of the time. Source: linux/netfilter/nf_tables.h, nfnetlink.h, netlink.h
 */

const NFNL_SUBSYS_NFTABLES = 10;
const BATCH_BEGIN = 0x10;
const BATCH_END = 0x11;
const NEW_ELEMENT = (NFNL_SUBSYS_NFTABLES << 8) | 12;
const DELETE_ELEMENT = (NFNL_SUBSYS_NFTABLES << 8) | 14;
const NEW_GENERATION = (NFNL_SUBSYS_NFTABLES << 8) | 15;
const GET_GENERATION = (NFNL_SUBSYS_NFTABLES << 8) | 16;
const NLMSG_ERROR = 2;
const REQUEST = 1;
const CREATE = 0x400;
const NFPROTO_INET = 1;
const NESTED = 0x8000;
const NFT_GOTO = -4;
const HEADER_BYTES = 16;
const FAMILY_BYTES = 4;
const ATTRIBUTE_BYTES = 4;
/** Of every kind of object that belongs to a table. */
const TABLE_NAME = 1;
const GENERATION_AUTHOR = 2;
/** A list of elements is one attribute, and its length has 16 bits. */
const MAX_LIST_BYTES = 60_000;
const MIN_BUFFER_BYTES = 64 * 1024;
const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };

const aligned = (length: number) => (length + 3) & ~3;

/** Writes netlink messages into a buffer that grows. */
class MessageWriter {
  #bytes = Buffer.alloc(MIN_BUFFER_BYTES);
  length = 0;

  /** Room for so many bytes, zero; where it starts. */
  take(size: number): number {
    const at = this.length;
    this.length += aligned(size);
    if (this.length > this.#bytes.length) {
      const larger = Buffer.alloc(this.length * 2);
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    return at;
  }

  /** Begins a message; `close` ends it. */
  message(type: number, flags: number, family: number, resource: number): number {
    const at = this.take(HEADER_BYTES + 4);
    this.#bytes.writeUInt16LE(type, at + 4);
    this.#bytes.writeUInt16LE(flags, at + 6);
    this.#bytes[at + HEADER_BYTES] = family;
    this.#bytes.writeUInt16BE(resource, at + HEADER_BYTES + 2);
    return at;
  }

  close(message: number): void {
    this.#bytes.writeUInt32LE(this.length - message, message);
  }

  nest(type: number): number {
    const at = this.take(4);
    this.#bytes.writeUInt16LE(type | NESTED, at + 2);
    return at;
  }

  end(nest: number): void {
    this.#bytes.writeUInt16LE(this.length - nest, nest);
  }

  /** An attribute; where its value is to be written. */
  attribute(type: number, size: number): number {
    const at = this.take(4 + size);
    this.#bytes.writeUInt16LE(4 + size, at);
    this.#bytes.writeUInt16LE(type, at + 2);
    return at + 4;
  }

  /** A text, as C has it. */
  text(type: number, text: string): void {
    const at = this.attribute(type, text.length + 1);
    this.#bytes.write(text, at, 'latin1');
  }

  /** The bytes until the next `take`. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.length);
  }
}

const SIZES: Readonly<Record<Exclude<PartType, 'verdict'>, number>> = {
  ipv4_addr: 4,
  ipv6_addr: 16,
  inet_proto: 1,
  inet_service: 2,
  ifname: 16,
  ether_addr: 6,
  ct_zone: 2,
  mark: 4,
};

function sizeOf(types: readonly PartType[]): number {
  const [only] = types;
  if (types.length === 1 && only !== undefined && only !== 'verdict') return SIZES[only];
  return types.reduce((sum, type) => sum + (type === 'verdict' ? 0 : aligned(SIZES[type])), 0);
}

function writePart(bytes: Buffer, at: number, type: PartType, text: string): void {
  switch (type) {
    case 'ipv4_addr': {
      let offset = at;
      for (const part of text.split('.')) bytes[offset++] = Number(part);
      break;
    }
    case 'ipv6_addr':
      Buffer.from(ipaddr.parse(text).toByteArray()).copy(bytes, at);
      break;
    case 'inet_proto':
      bytes[at] = PROTOCOLS[text] ?? Number(text);
      break;
    case 'inet_service':
      bytes.writeUInt16BE(Number(text), at);
      break;
    case 'ifname':
      bytes.write(text.slice(1, -1), at, 'latin1');
      break;
    case 'ether_addr':
      bytes.write(text.replaceAll(':', ''), at, 'hex');
      break;
    case 'ct_zone':
      bytes.writeUInt16LE(Number(text), at);
      break;
    default:
      // The kernel keeps marks in the machine's own order.
      bytes.writeUInt32LE(Number(text), at);
  }
}

function addValue(writer: MessageWriter, types: readonly PartType[], text: string): void {
  let at = writer.attribute(1, sizeOf(types));
  const parts = types.length === 1 ? [text] : text.split(' . ');
  for (const [index, type] of types.entries()) {
    writePart(writer.bytes, at, type, parts[index] ?? '');
    if (type !== 'verdict') at += aligned(SIZES[type]);
  }
}

function addVerdict(writer: MessageWriter, text: string): void {
  const verdict = writer.nest(2);
  const code = writer.attribute(1, 4);
  writer.bytes.writeInt32BE(NFT_GOTO, code);
  writer.text(2, text.slice('goto '.length));
  writer.end(verdict);
}

function addElement(writer: MessageWriter, set: SetSpec, key: string, value: string): void {
  const element = writer.nest(1);
  const keyNest = writer.nest(1);
  addValue(writer, set.key, key);
  writer.end(keyNest);
  if (set.value && value !== '') {
    const data = writer.nest(2);
    if (set.value[0] === 'verdict') addVerdict(writer, value);
    else addValue(writer, set.value, value);
    writer.end(data);
  }
  writer.end(element);
}

type Entries = readonly (readonly [string, string])[];

function addElements(
  writer: MessageWriter,
  table: string,
  set: SetSpec,
  entries: Entries,
  verb: 'add' | 'delete',
): void {
  const [type, flags] =
    verb === 'add' ? [NEW_ELEMENT, REQUEST | CREATE] : [DELETE_ELEMENT, REQUEST];
  let next = 0;
  while (next < entries.length) {
    const message = writer.message(type, flags, NFPROTO_INET, 0);
    writer.text(1, table);
    writer.text(2, set.name);
    const list = writer.nest(3);
    while (next < entries.length && writer.length - list < MAX_LIST_BYTES) {
      const [key = '', value = ''] = entries[next++] ?? [];
      addElement(writer, set, key, verb === 'add' ? value : '');
    }
    writer.end(list);
    writer.close(message);
  }
}

/**
 * One transaction of a change's elements, without its chains; undefined when some are intervals,
 * whose borders only the `nft` command works out.
 */
export function elementTransaction(spec: TableSpec, change: TableChange): Buffer | undefined {
  const touched = (set: SetSpec) =>
    (change.gone.get(set.name)?.length ?? 0) + (change.added.get(set.name)?.length ?? 0) > 0;
  if (spec.sets.some((set) => set.interval && touched(set))) return undefined;
  const writer = new MessageWriter();
  writer.close(writer.message(BATCH_BEGIN, REQUEST, 0, NFNL_SUBSYS_NFTABLES));
  for (const verb of ['delete', 'add'] as const) {
    const elements = verb === 'delete' ? change.gone : change.added;
    for (const set of spec.sets) {
      addElements(writer, spec.name, set, elements.get(set.name) ?? [], verb);
    }
  }
  writer.close(writer.message(BATCH_END, REQUEST, 0, NFNL_SUBSYS_NFTABLES));
  return writer.finish();
}

/** Asks for the number of the last change of any table. */
export function generationRequest(): Buffer {
  const writer = new MessageWriter();
  writer.close(writer.message(GET_GENERATION, REQUEST, 0, 0));
  return writer.finish();
}

function* messagesOf(answer: Buffer): Generator<{ type: number; body: Buffer }> {
  for (let at = 0; at + HEADER_BYTES <= answer.length; ) {
    const length = answer.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > answer.length) return;
    yield {
      type: answer.readUInt16LE(at + 4),
      body: answer.subarray(at + HEADER_BYTES, at + length),
    };
    at += aligned(length);
  }
}

/** A change of something of an `inet` table, or the end of a transaction with its thread. */
export type TableEvent = { readonly table: string } | { readonly author: number };

function* attributesOf(body: Buffer): Generator<{ type: number; value: Buffer }> {
  for (let at = FAMILY_BYTES; at + ATTRIBUTE_BYTES <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (length < ATTRIBUTE_BYTES || at + length > body.length) return;
    yield {
      type: body.readUInt16LE(at + 2) & ~NESTED,
      value: body.subarray(at + ATTRIBUTE_BYTES, at + length),
    };
    at += aligned(length);
  }
}

/** Reads what the kernel tells of changes: the events of a transaction, then who made it. */
export function* tableEventsOf(messages: Buffer): Generator<TableEvent> {
  for (const { type, body } of messagesOf(messages)) {
    for (const { type: attribute, value } of attributesOf(body)) {
      if (type === NEW_GENERATION) {
        if (attribute === GENERATION_AUTHOR) yield { author: value.readUInt32BE() };
      } else if (attribute === TABLE_NAME && body[0] === NFPROTO_INET) {
        yield { table: value.toString('latin1', 0, value.length - 1) };
      }
    }
  }
}

/** The first error that the kernel has answered, as a positive errno; 0: none. */
export function errorOf(answer: Buffer): number {
  for (const { type, body } of messagesOf(answer)) {
    if (type === NLMSG_ERROR && body.length >= 4) {
      const code = -body.readInt32LE(0);
      if (code !== 0) return code;
    }
  }
  return 0;
}

/** The number that `generationRequest` has asked for; undefined when the answer has none. */
export function generationOf(answer: Buffer): number | undefined {
  for (const { type, body } of messagesOf(answer)) {
    // The first attribute is the number.
    if (type === NEW_GENERATION && body.length >= 12) return body.readUInt32BE(8);
  }
  return undefined;
}
