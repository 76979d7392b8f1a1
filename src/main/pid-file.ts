import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { SluiceError, systemCode } from '../base/errors.ts';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

/** A file that holds this process's number while it serves; a successor's is left alone. */
export class PidFile {
  readonly #path: string | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  /**
   * Throws `E_ALREADY_RUNS` while another process of that file lives, unless this one is to take
   * over from it.
   */
  hold(succeeds = false): void {
    if (this.#path === undefined) return;
    const other = this.#holder;
    if (!succeeds && other > 0 && other !== process.pid && isAlive(other)) {
      throw new SluiceError(
        'E_ALREADY_RUNS',
        `process with PID ${other} is still running: end it, or remove ${this.#path}`,
      );
    }
    // Never seen half written.
    writeFileSync(`${this.#path}.new`, `${process.pid}\n`);
    renameSync(`${this.#path}.new`, this.#path);
  }

  release(): void {
    if (this.#path !== undefined && this.#holder === process.pid) unlinkSync(this.#path);
  }

  /** The number in the file; 0 when there is none. */
  get #holder(): number {
    try {
      return Number(readFileSync(this.#path ?? '', 'utf8')) || 0;
    } catch {
      return 0;
    }
  }
}
