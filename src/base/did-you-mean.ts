function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, index) => index)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? 0;
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    rows.push(current);
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + same,
        row > 1 && column > 1 && swapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
  }
  return at(a.length, b.length);
}

const LONGEST_WORD = 64;

/** `; did you mean "x"?` when one of the valid words is near to what was written. */
export function didYouMean(found: string, valid: readonly string[]): string {
  if (found.length > LONGEST_WORD) return '';
  const nearest = valid
    .map((word) => ({ word, far: distance(found.toLowerCase(), word.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0];
  const limit = found.length < 2 ? 0 : found.length < 5 ? 1 : Math.max(2, found.length / 3);
  return nearest && nearest.far <= limit ? `; did you mean "${nearest.word}"?` : '';
}
