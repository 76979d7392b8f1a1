/** The middle of some values, NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = low] = [
    sorted[middle - (sorted.length % 2 ? 0 : 1)],
    sorted[middle],
  ];
  return (low + high) / 2;
}
