/** Randomness as the pure cores see it, so that one seed replays a failure. */
export interface Rng {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number in [0, bound). */
  below(bound: number): number;
}

/** The machine's randomness; not for secrets (use `node:crypto`). */
export const systemRng: Rng = {
  next: () => Math.random(),
  below: (bound) => Math.floor(Math.random() * bound),
};

/** A repeatable sequence. Source: mulberry32, T. Ettinger (public domain). */
export function seededRng(seed: number): Rng {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return { next, below: (bound) => Math.floor(next() * bound) };
}

/** `value` changed by at most ±`ratio`, so that many waiters do not wake together. */
export function jitter(rng: Rng, value: number, ratio: number): number {
  return value * (1 + (rng.next() * 2 - 1) * ratio);
}
