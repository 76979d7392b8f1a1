/** One thing that is wrong with a configuration, and where. */
export type Diagnostic = {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** `listeners.web.bind`; empty for the whole file. */
  readonly path: string;
  readonly message: string;
};

/** One line a diagnostic: `file:line:column: path: message`. */
export function formatDiagnostics(diagnostics: readonly Diagnostic[]): string {
  return diagnostics
    .map(({ file, line, column, path, message }) => {
      const where = path === '' ? '' : `${path}: `;
      return `${file}:${line}:${column}: ${where}${message}`;
    })
    .join('\n');
}

function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      current[column] = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + same,
      );
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

/** `; did you mean "x"?` when one of the valid words is near to what was written. */
export function didYouMean(found: string, valid: readonly string[]): string {
  const nearest = valid
    .map((word) => ({ word, far: distance(found.toLowerCase(), word.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0];
  const near = nearest && nearest.far <= Math.max(1, Math.floor(found.length / 3));
  return near ? `; did you mean "${nearest.word}"?` : '';
}
