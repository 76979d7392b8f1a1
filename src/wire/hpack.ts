import { huffmanDecode, huffmanEncode, huffmanLength } from './hpack-huffman.ts';
import {
  DEFAULT_TABLE_BYTES,
  DynamicTable,
  fieldBytes,
  STATIC_NAMES,
  STATIC_VALUES,
} from './hpack-table.ts';

/** Fields of one block, flat (name, value, name, value, …; latin1), or why there are none. */
export type HpackResult =
  | {
      readonly kind: 'fields';
      readonly fields: string[];
      /** Size of the list: names, values and 32 for each field. Source: RFC 9113 section 6.5.2. */
      readonly bytes: number;
    }
  | { readonly kind: 'error'; readonly reason: 'compression' | 'too-large' };

const STATIC_COUNT = STATIC_NAMES.length - 1;
const INDEXED = 0x80;
const INCREMENTAL = 0x40;
const SIZE_UPDATE = 0x20;
const NEVER_INDEXED = 0x10;
const HUFFMAN = 0x80;
/** Most bytes of an integer after its first: values stay below 2^29. */
const MAX_INTEGER_BYTES = 4;
/** Names of which an encoder remembers what it sent. */
const MAX_NAMES = 256;
/** An entry may fill this part of an encoder's table at most. */
const MAX_ENTRY_SHARE = 1 / 4;

/** Work space of all coders: what is in it is read before the next call. */
let scratch = Buffer.allocUnsafeSlow(16_384);

function room(bytes: number): Buffer {
  if (scratch.length >= bytes) return scratch;
  const larger = Buffer.allocUnsafeSlow(bytes * 2);
  scratch.copy(larger);
  scratch = larger;
  return larger;
}

/**
 * Decodes the field blocks of one connection, in order. After `compression` the connection cannot
 * go on; after `too-large` it can, as the table has taken in the whole block. Source: RFC 7541.
 */
export class HpackDecoder {
  readonly #table: DynamicTable = new DynamicTable();
  readonly #maxTableBytes: number;
  readonly #maxListBytes: number;
  #block: Buffer = scratch;
  #at = 0;
  #failed = false;
  #fields: string[] = [];
  #bytes = 0;

  /**
   * `maxTableBytes` is the size that the peer was told, at least the 4096 with which every
   * connection starts; `maxListBytes` bounds the list of one block.
   */
  constructor(options: { maxTableBytes: number; maxListBytes: number }) {
    this.#maxTableBytes = Math.max(options.maxTableBytes, DEFAULT_TABLE_BYTES);
    this.#maxListBytes = options.maxListBytes;
  }

  decode(block: Buffer): HpackResult {
    const fields: string[] = [];
    this.#block = block;
    this.#at = 0;
    this.#failed = false;
    this.#fields = fields;
    this.#bytes = 0;
    while (this.#at < block.length && !this.#failed) this.#representation();
    this.#block = scratch;
    this.#fields = [];
    if (this.#failed) return { kind: 'error', reason: 'compression' };
    if (this.#bytes > this.#maxListBytes) return { kind: 'error', reason: 'too-large' };
    return { kind: 'fields', fields, bytes: this.#bytes };
  }

  /** Source: RFC 7541 section 6. */
  #representation(): void {
    const first = this.#block[this.#at] as number;
    if (first & INDEXED) {
      const index = this.#integer(7);
      this.#emit(this.#name(index), this.#value(index));
    } else if (first & INCREMENTAL) {
      const name = this.#literalName(6);
      const value = this.#string();
      if (!this.#failed) this.#table.add(name, value);
      this.#emit(name, value);
    } else if (first & SIZE_UPDATE) this.#resize();
    else this.#emit(this.#literalName(4), this.#string());
  }

  /** A size update is allowed before the first field only. Source: RFC 7541 section 4.2. */
  #resize(): void {
    const size = this.#integer(5);
    if (this.#bytes > 0 || size > this.#maxTableBytes) this.#failed = true;
    if (!this.#failed) this.#table.maxBytes = size;
  }

  #emit(name: string, value: string): void {
    this.#bytes += fieldBytes(name, value);
    if (this.#bytes <= this.#maxListBytes) this.#fields.push(name, value);
  }

  #literalName(prefixBits: number): string {
    const index = this.#integer(prefixBits);
    return index === 0 && !this.#failed ? this.#string() : this.#name(index);
  }

  #name(index: number): string {
    return index <= STATIC_COUNT
      ? this.#known(index, STATIC_NAMES[index])
      : this.#known(index, this.#table.name(index - STATIC_COUNT - 1));
  }

  #value(index: number): string {
    return index <= STATIC_COUNT
      ? this.#known(index, STATIC_VALUES[index])
      : this.#known(index, this.#table.value(index - STATIC_COUNT - 1));
  }

  #known(index: number, text: string | undefined): string {
    if (index > 0 && text !== undefined) return text;
    this.#failed = true;
    return '';
  }

  /** Source: RFC 7541 section 5.1. */
  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.#block[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift < MAX_INTEGER_BYTES * 7; shift += 7) {
      const byte = this.#block[this.#at++];
      if (byte === undefined) break;
      value += (byte & 127) << shift;
      if (byte < 128) return value;
    }
    this.#failed = true;
    return 0;
  }

  /** Source: RFC 7541 section 5.2. */
  #string(): string {
    const first = this.#block[this.#at];
    if (first === undefined || this.#failed) {
      this.#failed = true;
      return '';
    }
    const length = this.#integer(7);
    const from = this.#at;
    const to = from + length;
    if (this.#failed || to > this.#block.length) {
      this.#failed = true;
      return '';
    }
    this.#at = to;
    if (!(first & HUFFMAN)) return this.#block.toString('latin1', from, to);
    const out = room(length * 2);
    const size = huffmanDecode(this.#block, from, to, out);
    if (size >= 0) return out.toString('latin1', 0, size);
    this.#failed = true;
    return '';
  }
}

/** `number` counts the entries ever added. */
type TableEntry = { readonly value: string; readonly number: number };

/** What an encoder knows of one name. */
type NameRecord = {
  readonly name: string;
  /** Index of the name in the static table, or 0. */
  readonly staticIndex: number;
  readonly policy: 'index' | 'literal' | 'never';
  /** Hash of the value sent last: one that comes twice is worth an entry. */
  last: number | undefined;
  /** Entries in the dynamic table, the oldest first. */
  readonly entries: TableEntry[];
};

/** Secrets stay out of every table on the way. Source: RFC 7541 section 7.1. */
const NEVER = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie']);
/** Values that seldom come again, or that one client should not learn of another. */
const LITERAL = new Set([':path', 'content-length', 'etag', 'location', 'if-none-match']);

const STATIC_INDEX = new Map<string, number>();
for (let index = STATIC_COUNT; index > 0; index--) {
  STATIC_INDEX.set(STATIC_NAMES[index] as string, index);
}

function policyOf(name: string): NameRecord['policy'] {
  if (NEVER.has(name)) return 'never';
  return LITERAL.has(name) ? 'literal' : 'index';
}

function hashOf(text: string): number {
  let hash = text.length;
  for (let at = 0; at < text.length; at++) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) | 0;
  return hash;
}

/** What is kept must not keep the head alive of which it may be a slice. */
function ownCopy(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/**
 * Encodes the field blocks of one connection; they have to go out in this order. A field enters
 * the table when the same value comes the second time in a row. Source: RFC 7541.
 */
export class HpackEncoder {
  readonly #maxTableBytes: number;
  readonly #table: DynamicTable = new DynamicTable((name) =>
    this.#names.get(name)?.entries.shift(),
  );
  readonly #names = new Map<string, NameRecord>();
  #added = 0;
  #at = 0;
  /** The smallest size since the last block, if the size changed. */
  #smallest: number | undefined;

  /** `maxTableBytes` bounds the table, whatever the peer would allow. */
  constructor(options: { maxTableBytes: number }) {
    this.#maxTableBytes = options.maxTableBytes;
    this.setMaxTableBytes(DEFAULT_TABLE_BYTES);
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setMaxTableBytes(limit: number): void {
    const size = Math.min(limit, this.#maxTableBytes);
    if (size === this.#table.maxBytes) return;
    this.#table.maxBytes = size;
    this.#smallest = Math.min(size, this.#smallest ?? size);
  }

  /** `fields`: name, value, name, value, …; names in lower case, latin1. The buffer is the caller's. */
  encode(fields: readonly string[]): Buffer {
    this.#at = 0;
    this.#announceSize();
    for (let at = 0; at + 1 < fields.length; at += 2) {
      this.#field(fields[at] as string, fields[at + 1] as string);
    }
    return Buffer.from(scratch.subarray(0, this.#at));
  }

  /** Source: RFC 7541 section 4.2: the smallest size in between, then the last one. */
  #announceSize(): void {
    if (this.#smallest === undefined) return;
    const { maxBytes } = this.#table;
    if (this.#smallest < maxBytes) this.#integer(SIZE_UPDATE, 5, this.#smallest);
    this.#integer(SIZE_UPDATE, 5, maxBytes);
    this.#smallest = undefined;
  }

  #field(name: string, value: string): void {
    room(this.#at + name.length + value.length + 32);
    const record = this.#record(name);
    const { staticIndex, policy } = record;
    for (let index = staticIndex; index > 0 && STATIC_NAMES[index] === name; index++) {
      if (STATIC_VALUES[index] !== value) continue;
      this.#integer(INDEXED, 7, index);
      return;
    }
    for (const entry of record.entries) {
      if (entry.value !== value) continue;
      this.#integer(INDEXED, 7, this.#index(entry));
      return;
    }
    const nameIndex = this.#nameIndex(record);
    if (policy === 'index' && this.#cameTwice(record, name, value)) {
      const kept = ownCopy(value);
      this.#table.add(record.name, kept);
      record.entries.push({ value: kept, number: ++this.#added });
      this.#literal(INCREMENTAL, 6, nameIndex, name, value);
    } else this.#literal(policy === 'never' ? NEVER_INDEXED : 0, 4, nameIndex, name, value);
  }

  #cameTwice(record: NameRecord, name: string, value: string): boolean {
    if (fieldBytes(name, value) > this.#table.maxBytes * MAX_ENTRY_SHARE) return false;
    const { last } = record;
    record.last = hashOf(value);
    return record.last === last;
  }

  #nameIndex({ staticIndex, entries }: NameRecord): number {
    if (staticIndex > 0) return staticIndex;
    const newest = entries.at(-1);
    return newest ? this.#index(newest) : 0;
  }

  #index({ number }: TableEntry): number {
    return STATIC_COUNT + 1 + this.#added - number;
  }

  #record(name: string): NameRecord {
    const known = this.#names.get(name);
    if (known) return known;
    const staticIndex = STATIC_INDEX.get(name) ?? 0;
    const record: NameRecord = {
      name: staticIndex > 0 ? (STATIC_NAMES[staticIndex] as string) : ownCopy(name),
      staticIndex,
      policy: policyOf(name),
      last: undefined,
      entries: [],
    };
    if (this.#names.size >= MAX_NAMES) {
      for (const [other, { entries }] of this.#names) {
        if (entries.length === 0) this.#names.delete(other);
      }
    }
    if (this.#names.size < MAX_NAMES) this.#names.set(record.name, record);
    return record;
  }

  #literal(mark: number, prefixBits: number, index: number, name: string, value: string): void {
    this.#integer(mark, prefixBits, index);
    if (index === 0) this.#string(name);
    this.#string(value);
  }

  #integer(mark: number, prefixBits: number, value: number): void {
    const mask = (1 << prefixBits) - 1;
    if (value < mask) {
      scratch[this.#at++] = mark | value;
      return;
    }
    scratch[this.#at++] = mark | mask;
    let rest = value - mask;
    for (; rest >= 128; rest >>>= 7) scratch[this.#at++] = (rest & 127) | 128;
    scratch[this.#at++] = rest;
  }

  #string(text: string): void {
    const length = huffmanLength(text);
    if (length < text.length) {
      this.#integer(HUFFMAN, 7, length);
      this.#at = huffmanEncode(text, scratch, this.#at);
    } else {
      this.#integer(0, 7, text.length);
      this.#at += scratch.write(text, this.#at, 'latin1');
    }
  }
}
