import { MAX_KERNEL_SLOTS } from '../../model/kernel-listener.ts';

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** Shares that add up to at most the slots that there are; each weight above 0 keeps one. */
function shares(weights: readonly number[]): number[] {
  const divisor = weights.reduce(commonDivisor, 0);
  const exact = weights.map((weight) => weight / divisor);
  const sum = exact.reduce((total, share) => total + share, 0);
  if (sum <= MAX_KERNEL_SLOTS) return exact;
  const spare = Math.max(0, MAX_KERNEL_SLOTS - weights.length);
  return exact.map((share) => 1 + Math.floor((share * spare) / sum));
}

/**
 * Items in slots that are taken in turn, each as often as its weight has a share, as far apart as
 * possible. Weights are whole numbers above 0. Source: nginx, smooth weighted round-robin.
 */
export function weightedSlots<T>(items: readonly { item: T; weight: number }[]): T[] {
  const fit = items.slice(0, MAX_KERNEL_SLOTS);
  const entries = shares(fit.map(({ weight }) => weight)).map((share, index) => ({
    share,
    index,
    current: 0,
  }));
  const total = entries.reduce((sum, { share }) => sum + share, 0);
  const slots: T[] = [];
  for (let slot = 0; slot < total; slot++) {
    let best = entries[0];
    for (const entry of entries) {
      entry.current += entry.share;
      if (best && entry.current > best.current) best = entry;
    }
    const chosen = best && fit[best.index];
    if (!best || !chosen) break;
    best.current -= total;
    slots.push(chosen.item);
  }
  return slots;
}
