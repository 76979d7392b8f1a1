import type { Rng } from '../../src/base/rng.ts';
import { oneOf } from './seed.ts';

const MAX_INSERT = 40;

function removed(text: string, at: number, rng: Rng): string {
  return text.slice(0, at) + text.slice(at + 1 + rng.below(12));
}

function repeated(text: string, at: number, rng: Rng): string {
  const piece = text.slice(at, at + 1 + rng.below(MAX_INSERT));
  return text.slice(0, at) + piece + text.slice(at);
}

function flipped(text: string, at: number, rng: Rng): string {
  const code = text.charCodeAt(at) ^ (1 << rng.below(8));
  return text.slice(0, at) + String.fromCharCode(code & 255) + text.slice(at + 1);
}

function moved(text: string, at: number, rng: Rng): string {
  const from = rng.below(text.length + 1);
  return text.slice(0, at) + text.slice(from, from + rng.below(MAX_INSERT)) + text.slice(at);
}

/** Where a line begins, so that whole lines come in between as often as bytes do. */
function lineStart(text: string, rng: Rng): number {
  const end = text.indexOf('\n', rng.below(text.length + 1));
  return end < 0 ? text.length : end + 1;
}

/** One of `corpus` after one to three changes. One character is one byte. */
export function mutate(rng: Rng, corpus: readonly string[], scraps: readonly string[]): string {
  let text = oneOf(rng, corpus);
  for (let changes = 1 + rng.below(3); changes > 0; changes--) {
    const at = rng.below(text.length + 1);
    const kind = rng.below(8);
    if (kind === 0) text = removed(text, at, rng);
    else if (kind === 1) text = repeated(text, at, rng);
    else if (kind === 2) text = flipped(text, at, rng);
    else if (kind === 3) text = moved(text, at, rng);
    else if (kind === 4) text = text.slice(0, at) + oneOf(rng, scraps) + text.slice(at);
    else if (kind === 5) text = text.slice(0, at);
    else {
      const start = lineStart(text, rng);
      text = text.slice(0, start) + oneOf(rng, scraps) + text.slice(start);
    }
  }
  return text;
}
