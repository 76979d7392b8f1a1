import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Identity } from './identity.ts';

const COMPILER = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './compile.ts' : './compile.js', import.meta.url),
);
const LOWEST_PRIORITY = 19;

/**
 * A directory of compiled code for workers that replace others: with it they start in half the time.
 * It belongs to workers alone: the supervisor runs nothing of it.
 */
export class CodeCache {
  readonly #path: string | undefined;
  readonly #identity: Identity;
  #compiler: ChildProcess | undefined;

  constructor(identity: Identity) {
    const { uid, gid } = identity;
    this.#identity = identity;
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

  /**
   * Fills the directory by a process that does nothing else: a worker that wrote down its code would
   * keep its clients waiting for a tenth of a second.
   */
  fill(execArgv: readonly string[]): void {
    if (this.#path === undefined) return;
    const { uid, gid } = this.#identity;
    const child = spawn(process.execPath, [...execArgv, COMPILER], {
      env: this.environment(process.env),
      stdio: 'ignore',
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    this.#compiler = child;
    child.on('error', () => {});
    child.unref();
    if (child.pid !== undefined) setPriority(child.pid, LOWEST_PRIORITY);
  }

  remove(): void {
    this.#compiler?.kill('SIGKILL');
    if (this.#path !== undefined) rmSync(this.#path, { recursive: true, force: true });
  }
}
