/** Source: RFC 7541 appendix A. */
const STATIC_FIELDS = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`.split('\n');

/** Names and values of the static table; index 0 is none. */
export const STATIC_NAMES: readonly string[] = [
  '',
  ...STATIC_FIELDS.map((line) => line.split(' ', 1)[0] as string),
];
export const STATIC_VALUES: readonly string[] = [
  '',
  ...STATIC_FIELDS.map((line) => line.slice(line.split(' ', 1)[0]?.length).trimStart()),
];

/** The table's size before either side has said anything. Source: RFC 9113 section 6.5.2. */
export const DEFAULT_TABLE_BYTES = 4096;

/** What a field counts in a table and in a list. Source: RFC 7541 section 4.1. */
export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + 32;
}

/** Entries in the order of their adding; the oldest go when there is no room. */
export class DynamicTable {
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  readonly #onEvict: (name: string) => void;
  #oldest = 0;
  #bytes = 0;
  #maxBytes: number = DEFAULT_TABLE_BYTES;

  constructor(onEvict: (name: string) => void = () => {}) {
    this.#onEvict = onEvict;
  }

  get count(): number {
    return this.#names.length - this.#oldest;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  set maxBytes(limit: number) {
    this.#maxBytes = limit;
    this.#evictTo(limit);
  }

  /** The newest entry is at 0; undefined where there is none. */
  name(index: number): string | undefined {
    return index < this.count ? this.#names[this.#names.length - 1 - index] : undefined;
  }

  value(index: number): string | undefined {
    return index < this.count ? this.#values[this.#values.length - 1 - index] : undefined;
  }

  /** An entry larger than the table only empties it. Source: RFC 7541 section 4.4. */
  add(name: string, value: string): void {
    const size = fieldBytes(name, value);
    this.#evictTo(this.#maxBytes - size);
    if (size > this.#maxBytes) return;
    this.#names.push(name);
    this.#values.push(value);
    this.#bytes += size;
  }

  #evictTo(limit: number): void {
    while (this.#bytes > limit && this.count > 0) {
      const name = this.#names[this.#oldest] as string;
      this.#bytes -= fieldBytes(name, this.#values[this.#oldest] as string);
      this.#names[this.#oldest] = '';
      this.#values[this.#oldest] = '';
      this.#oldest++;
      this.#onEvict(name);
    }
    if (this.#oldest > 64 && this.#oldest * 2 > this.#names.length) {
      this.#names.splice(0, this.#oldest);
      this.#values.splice(0, this.#oldest);
      this.#oldest = 0;
    }
  }
}
