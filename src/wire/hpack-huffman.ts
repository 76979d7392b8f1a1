/**
 * Length in bits of each symbol's code; the last is EOS. The code is canonical: within a length,
 * codes rise with the symbol. Source: RFC 7541 appendix B.
 */
const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
  28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5,
  6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6,
  7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
  23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
  22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
  23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27,
  27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
  24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS = 256;
const EMIT = 1 << 16;
const FAIL = 1 << 17;
const LENGTHS = Uint8Array.from(CODE_LENGTHS.slice(0, EOS));
const CODES: Uint32Array = canonicalCodes();

/** A leaf is `~symbol`, an inner node its number; children of node n are at 2n and 2n + 1. */
const TREE: Int16Array = codeTree();

/**
 * Decoding by four bits: at `node << 4 | bits` stands the next node, the symbol completed on the way
 * (at most one, as the shortest code has five bits) and a mark for either.
 */
const STEPS: Uint32Array = decodingSteps();

/** Nodes at which a string may end: the root, or fewer than eight bits, all ones, into a code. */
const MAY_END: Uint8Array = endingNodes();

function canonicalCodes(): Uint32Array {
  const codes = new Uint32Array(EOS + 1);
  let code = 0;
  for (let length = 1; length <= 30; length++) {
    for (let symbol = 0; symbol <= EOS; symbol++) {
      if (CODE_LENGTHS[symbol] === length) codes[symbol] = code++;
    }
    code *= 2;
  }
  return codes;
}

function codeTree(): Int16Array {
  const tree = new Int16Array(2 * EOS);
  let nodes = 1;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = (CODE_LENGTHS[symbol] as number) - 1; bit >= 0; bit--) {
      const child = 2 * node + (((CODES[symbol] as number) >>> bit) & 1);
      if (bit === 0) tree[child] = ~symbol;
      else if (tree[child] === 0) tree[child] = nodes++;
      node = tree[child] as number;
    }
  }
  return tree;
}

function decodingSteps(): Uint32Array {
  const steps = new Uint32Array(EOS << 4);
  for (let entry = 0; entry < steps.length; entry++) {
    let node = entry >> 4;
    let marks = 0;
    for (let bit = 3; bit >= 0; bit--) {
      node = TREE[2 * node + ((entry >> bit) & 1)] as number;
      if (node >= 0) continue;
      marks |= ~node === EOS ? FAIL : EMIT | (~node << 8);
      node = 0;
    }
    steps[entry] = marks | node;
  }
  return steps;
}

function endingNodes(): Uint8Array {
  const ending = new Uint8Array(EOS);
  for (let node = 0, depth = 0; depth < 8; depth++) {
    ending[node] = 1;
    node = TREE[2 * node + 1] as number;
  }
  return ending;
}

/** Bytes that `text` (latin1) takes in Huffman code. Source: RFC 7541 section 5.2. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at++) bits += LENGTHS[text.charCodeAt(at) & 255] as number;
  return (bits + 7) >> 3;
}

/** Writes `text` in Huffman code from `at` on and returns the end; the caller made the room. */
export function huffmanEncode(text: string, out: Buffer, at: number): number {
  let end = at;
  let pending = 0;
  let bits = 0;
  for (let index = 0; index < text.length; index++) {
    const symbol = text.charCodeAt(index) & 255;
    let length = LENGTHS[symbol] as number;
    const code = CODES[symbol] as number;
    if (length > 24) {
      // With up to seven bits pending, more than 24 would not fit into 32.
      length -= 8;
      pending = (pending << 8) | (code >>> length);
      out[end++] = pending >>> bits;
    }
    pending = (pending << length) | (code & ((1 << length) - 1));
    bits += length;
    for (; bits >= 8; bits -= 8) out[end++] = pending >>> (bits - 8);
  }
  if (bits > 0) out[end++] = (pending << (8 - bits)) | (255 >> bits);
  return end;
}

/**
 * Decodes `bytes[from, to)` into `out` from its start on, and returns how many bytes came out, or
 * -1 for what is no Huffman code. `out` has room for eight bytes for every five of input.
 */
export function huffmanDecode(bytes: Buffer, from: number, to: number, out: Buffer): number {
  let node = 0;
  let length = 0;
  let failed = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    const high = STEPS[(node << 4) | (byte >> 4)] as number;
    if (high & EMIT) out[length++] = high >> 8;
    const low = STEPS[((high & 255) << 4) | (byte & 15)] as number;
    if (low & EMIT) out[length++] = low >> 8;
    node = low & 255;
    failed |= high | low;
  }
  return failed & FAIL || !MAY_END[node] ? -1 : length;
}
