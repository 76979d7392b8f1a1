const NAMED: Readonly<Record<string, string>> = { r: '\r', n: '\n', t: '\t', '\\': '\\' };

/** Bytes of a text in which `\r`, `\n`, `\t`, `\\` and `\xHH` stand for what they name. */
export function readEscapes(text: string): Buffer {
  const read = text.replaceAll(
    /\\(?:([rnt\\])|x([0-9A-Fa-f]{2}))/g,
    (whole, name: string | undefined, hex: string | undefined) =>
      hex === undefined
        ? (NAMED[name ?? ''] ?? whole)
        : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(read, 'latin1');
}
