import type { ErrorCode } from './error-codes.ts';

/**
 * An error with a permanent code. The message says what was attempted, with which value, and what
 * would be valid; `hint` is one more sentence that helps to mend it.
 */
export class SluiceError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; hint?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SluiceError';
    this.code = code;
    this.hint = options?.hint;
  }
}

/** The text of anything thrown, for a log line or a wrapping message. */
export function errorText(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The system's error name (`ECONNREFUSED`, …) of anything thrown, or undefined. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** Reports a broken invariant; the supervisor restarts the process that meets one. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new SluiceError('E_INTERNAL_INVARIANT', `broken invariant: ${what}`);
}
