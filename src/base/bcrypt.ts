const ROUNDS = 16;
const BOX_WORDS = 4 * 256;
const WORDS = ROUNDS + 2 + BOX_WORDS;

/** The first words of pi behind its point, with which Blowfish begins, by Machin's formula. */
function wordsOfPi(): Int32Array {
  const spare = 64n;
  const one = 1n << (BigInt(WORDS) * 32n + spare);
  const arctanOfInverse = (x: bigint) => {
    let power = one / x;
    let sum = power;
    for (let n = 3n, sign = -1n; power > 0n; n += 2n, sign = -sign) {
      power /= x * x;
      sum += (sign * power) / n;
    }
    return sum;
  };
  const pi = 4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n));
  const hex = ((pi - 3n * one) >> spare).toString(16).padStart(WORDS * 8, '0');
  return Int32Array.from(
    { length: WORDS },
    (_, at) => Number.parseInt(hex.slice(at * 8, at * 8 + 8), 16) | 0,
  );
}

let pi: Int32Array | undefined;

/** Blowfish, with the key schedule of bcrypt. Source: Provos and Mazières, 1999. */
class Blowfish {
  readonly #subkeys: Int32Array;
  readonly #boxes: Int32Array;

  constructor() {
    pi ??= wordsOfPi();
    this.#subkeys = pi.slice(0, ROUNDS + 2);
    this.#boxes = pi.slice(ROUNDS + 2);
  }

  /** Encrypts two words in place. */
  encrypt(block: Int32Array, at: number): void {
    const [keys, boxes] = [this.#subkeys, this.#boxes];
    let left = block[at] as number;
    let right = block[at + 1] as number;
    for (let round = 0; round < ROUNDS; round++) {
      left ^= keys[round] as number;
      let mixed =
        ((boxes[left >>> 24] as number) + (boxes[256 + ((left >>> 16) & 255)] as number)) | 0;
      mixed ^= boxes[512 + ((left >>> 8) & 255)] as number;
      mixed = (mixed + (boxes[768 + (left & 255)] as number)) | 0;
      const next = right ^ mixed;
      right = left;
      left = next;
    }
    block[at] = right ^ (keys[ROUNDS + 1] as number);
    block[at + 1] = left ^ (keys[ROUNDS] as number);
  }

  /** Mixes a key in, and a salt of four words where there is one. */
  expand(key: Int32Array, salt: Int32Array | undefined): void {
    for (let at = 0; at < ROUNDS + 2; at++) {
      this.#subkeys[at] = (this.#subkeys[at] as number) ^ (key[at] as number);
    }
    const block = new Int32Array(2);
    let salted = 0;
    for (const words of [this.#subkeys, this.#boxes]) {
      for (let at = 0; at < words.length; at += 2) {
        if (salt) {
          block[0] = (block[0] as number) ^ (salt[salted] as number);
          block[1] = (block[1] as number) ^ (salt[salted + 1] as number);
          salted = (salted + 2) % 4;
        }
        this.encrypt(block, 0);
        words[at] = block[0] as number;
        words[at + 1] = block[1] as number;
      }
    }
  }
}

/** Eighteen words of a text that is repeated, the byte at its end included. */
function keyWords(bytes: Buffer): Int32Array {
  let at = 0;
  return Int32Array.from({ length: ROUNDS + 2 }, () => {
    let word = 0;
    for (let count = 0; count < 4; count++) word = (word << 8) | (bytes[at++ % bytes.length] ?? 0);
    return word;
  });
}

const MAX_PASSWORD = 72;
const LETTERS = './ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

function translated(text: string, from: string, to: string): string {
  return [...text].map((letter) => to[from.indexOf(letter)] ?? '').join('');
}

/** The bcrypt hash of a password, with the cost and salt (`$2y$10$` and 22 letters) of `setting`. */
export function bcrypt(password: string, setting: string): string {
  const [, head = '', cost = '', salt = ''] = /^(\$2[aby]\$(\d\d)\$)(.{22})/.exec(setting) ?? [];
  const bytes = Buffer.from(translated(salt, LETTERS, BASE64), 'base64');
  const words = Int32Array.from({ length: 4 }, (_, at) => bytes.readInt32BE(at * 4));
  const saltKey = keyWords(bytes);
  const key = keyWords(
    Buffer.concat([Buffer.from(password).subarray(0, MAX_PASSWORD), Buffer.alloc(1)]),
  );
  const cipher = new Blowfish();
  cipher.expand(key, words);
  for (let round = 0; round < 2 ** Number(cost); round++) {
    cipher.expand(key, undefined);
    cipher.expand(saltKey, undefined);
  }
  const text = Buffer.from('OrpheanBeholderScryDoubt');
  const block = Int32Array.from({ length: 6 }, (_, at) => text.readInt32BE(at * 4));
  for (let round = 0; round < 64; round++) {
    for (let at = 0; at < 6; at += 2) cipher.encrypt(block, at);
  }
  const result = Buffer.alloc(24);
  for (const [at, word] of block.entries()) result.writeInt32BE(word, at * 4);
  const encoded = result.subarray(0, 23).toString('base64').replaceAll('=', '');
  return `${head}${salt}${translated(encoded, BASE64, LETTERS)}`;
}
