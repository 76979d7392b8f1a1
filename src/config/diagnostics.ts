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

/** What a person reads of a path and of a message; names and values can be of any length. */
const MAX_PATH = 200;
const MAX_MESSAGE = 1000;

/** The text, or its first `max` characters and an ellipsis. */
export function clip(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max)}…`;
}

/** A diagnostic as `file:line:column: path: message`. */
export function formatDiagnostic({ file, line, column, path, message }: Diagnostic): string {
  const where = path === '' ? '' : `${clip(path, MAX_PATH)}: `;
  return `${file}:${line}:${column}: ${where}${clip(message, MAX_MESSAGE)}`;
}

/** One line a diagnostic. */
export function formatDiagnostics(diagnostics: readonly Diagnostic[]): string {
  return diagnostics.map(formatDiagnostic).join('\n');
}
