import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FLUSH_AFTER_MS = 500;

/**
 * A directory of compiled code that workers leave to their replacements, which then start in less
 * than half the time. It belongs to them alone: the supervisor runs nothing of it.
 */
export class CodeCache {
  readonly #path: string | undefined;

  constructor(uid: number | undefined, gid: number | undefined) {
    try {
      this.#path = mkdtempSync(join(tmpdir(), 'sluice-code-'));
      if (uid !== undefined) chownSync(this.#path, uid, gid ?? uid);
    } catch {
      // Without a place for it everything works, a little slower.
      this.#path = undefined;
    }
  }

  /** The environment of a worker. */
  environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    return this.#path === undefined ? env : { NODE_COMPILE_CACHE: this.#path, ...env };
  }

  remove(): void {
    if (this.#path !== undefined) rmSync(this.#path, { recursive: true, force: true });
  }
}

/** Leaves this worker's compiled code to the next; by itself Node does so at an orderly end only. */
export function shareCompiledCode(): void {
  setTimeout(() => module.flushCompileCache(), FLUSH_AFTER_MS).unref();
}
