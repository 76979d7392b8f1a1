import { createHash } from 'node:crypto';
import { hashSync } from 'bcryptjs';

const LETTERS = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const DEFAULT_ROUNDS = 5000;
const MAX_ROUNDS = 100_000;
const MAX_BCRYPT_COST = 10;

/** Kinds of hashes of crypt(3) and htpasswd, and what one of them looks like. */
const KINDS: readonly {
  readonly shape: RegExp;
  readonly hash: (given: string, stored: string) => string;
}[] = [
  { shape: /^\$(?:1|apr1)\$[^$]{1,8}\$[./\w]{22}$/, hash: md5Crypt },
  { shape: /^\$5\$(?:rounds=\d{1,6}\$)?[^$]{1,16}\$[./\w]{43}$/, hash: shaCrypt },
  { shape: /^\$6\$(?:rounds=\d{1,6}\$)?[^$]{1,16}\$[./\w]{86}$/, hash: shaCrypt },
  { shape: /^\$2[aby]\$\d\d\$[./\w]{53}$/, hash: hashSync },
  { shape: /^\{SHA\}[A-Za-z0-9+/]{27}=$/, hash: shaHash },
  { shape: /^\{SSHA\}[A-Za-z0-9+/]{30,}=*$/, hash: saltedShaHash },
];

/** The hash of a password in the way and with the salt of a stored one; undefined: no such kind. */
export function cryptHash(password: string, stored: string): string | undefined {
  if (!isCryptHash(stored)) return undefined;
  return KINDS.find(({ shape }) => shape.test(stored))?.hash(password, stored);
}

/** Whether a text is a hash that can be computed in a bearable time: of bcrypt up to a cost of 10. */
export function isCryptHash(stored: string): boolean {
  const cost = Number(/^\$2[aby]\$(\d\d)/.exec(stored)?.[1] ?? 4);
  const rounds = Number(/rounds=(\d+)/.exec(stored)?.[1] ?? DEFAULT_ROUNDS);
  const bearable = cost >= 4 && cost <= MAX_BCRYPT_COST && rounds >= 1000 && rounds <= MAX_ROUNDS;
  return bearable && KINDS.some(({ shape }) => shape.test(stored));
}

/** Whether it takes long enough to be done seldom. */
export function isSlowHash(stored: string): boolean {
  return stored.startsWith('$') && isCryptHash(stored);
}

function shaHash(password: string): string {
  return `{SHA}${createHash('sha1').update(password).digest('base64')}`;
}

function saltedShaHash(password: string, stored: string): string {
  const salt = Buffer.from(stored.slice(6), 'base64').subarray(20);
  const digest = createHash('sha1').update(password).update(salt).digest();
  return `{SSHA}${Buffer.concat([digest, salt]).toString('base64')}`;
}

type Algorithm = 'md5' | 'sha256' | 'sha512';

function digestOf(algorithm: Algorithm, ...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** A text as often as it takes to fill so many bytes. */
function stretched(bytes: Buffer, length: number): Buffer {
  return Buffer.alloc(length, bytes.length > 0 ? bytes : 0);
}

/** Bytes by their places, three at a time, as letters of six bits, the lowest first. */
function encoded(digest: Buffer, places: readonly (readonly number[])[]): string {
  let text = '';
  for (const [a, b, c] of places) {
    const byte = (at: number | undefined) => (at === undefined || at < 0 ? 0 : (digest[at] ?? 0));
    let value = (byte(a) << 16) | (byte(b) << 8) | byte(c);
    const letters = b === undefined ? 2 : a === -1 ? 3 : 4;
    if (b === undefined) value = byte(a);
    for (let count = 0; count < letters; count++, value >>= 6) text += LETTERS[value & 63];
  }
  return text;
}

const MD5_PLACES = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5], [11]];

/** `$1$` and Apache's `$apr1$`. Source: FreeBSD, crypt-md5.c. */
function md5Crypt(password: string, stored: string): string {
  const [, magic = '', salt = ''] = /^(\$\w+\$)([^$]+)/.exec(stored) ?? [];
  const key = Buffer.from(password);
  const [start, grain] = [Buffer.from(magic), Buffer.from(salt)];
  const inner = digestOf('md5', key, grain, key);
  const bits: Buffer[] = [];
  for (let left = key.length; left > 0; left >>= 1) {
    bits.push(left & 1 ? Buffer.alloc(1) : key.subarray(0, 1));
  }
  let digest = digestOf('md5', key, start, grain, stretched(inner, key.length), ...bits);
  for (let round = 0; round < 1000; round++) {
    const odd = round % 2 === 1;
    const middle = [...(round % 3 ? [grain] : []), ...(round % 7 ? [key] : [])];
    digest = digestOf('md5', odd ? key : digest, ...middle, odd ? digest : key);
  }
  return `${magic}${salt}$${encoded(digest, MD5_PLACES)}`;
}

/** Three places a third apart, turned by `step` from one to the next, as the last letters say. */
function shaPlaces(size: 32 | 64): number[][] {
  const third = Math.floor(size / 3);
  const places = Array.from({ length: third }, (_, at) => {
    const three = [at, at + third, at + 2 * third];
    const turn = size === 64 ? at % 3 : (3 - (at % 3)) % 3;
    return [...three.slice(turn), ...three.slice(0, turn)];
  });
  return [...places, size === 64 ? [63] : [-1, 31, 30]];
}

/** `$5$` and `$6$`. Source: Drepper, "Unix crypt using SHA-256 and SHA-512". */
function shaCrypt(password: string, stored: string): string {
  const [, magic = '', chosen = '', salt = ''] =
    /^(\$[56]\$)(rounds=\d+\$)?([^$]+)/.exec(stored) ?? [];
  const algorithm = magic === '$5$' ? 'sha256' : 'sha512';
  const size = magic === '$5$' ? 32 : 64;
  const rounds = Number(/\d+/.exec(chosen)?.[0] ?? DEFAULT_ROUNDS);
  const [key, grain] = [Buffer.from(password), Buffer.from(salt)];
  const inner = digestOf(algorithm, key, grain, key);
  const bits: Buffer[] = [];
  for (let left = key.length; left > 0; left >>= 1) bits.push(left & 1 ? inner : key);
  let digest = digestOf(algorithm, key, grain, stretched(inner, key.length), ...bits);
  const keys = Array.from({ length: key.length }, () => key);
  const longKey = stretched(digestOf(algorithm, ...keys), key.length);
  const grains = Array.from({ length: 16 + (digest[0] ?? 0) }, () => grain);
  const longGrain = stretched(digestOf(algorithm, ...grains), grain.length);
  for (let round = 0; round < rounds; round++) {
    const odd = round % 2 === 1;
    const middle = [...(round % 3 ? [longGrain] : []), ...(round % 7 ? [longKey] : [])];
    digest = digestOf(algorithm, odd ? longKey : digest, ...middle, odd ? digest : longKey);
  }
  return `${magic}${chosen}${salt}$${encoded(digest, shaPlaces(size))}`;
}
