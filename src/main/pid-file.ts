import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';

/** A file that holds this process's number while it serves; a successor's is left alone. */
export class PidFile {
  readonly #path: string | undefined;

  constructor(path: string | undefined) {
    this.#path = path;
  }

  hold(): void {
    if (this.#path === undefined) return;
    // Never seen half written.
    writeFileSync(`${this.#path}.new`, `${process.pid}\n`);
    renameSync(`${this.#path}.new`, this.#path);
  }

  release(): void {
    if (this.#path === undefined) return;
    try {
      if (Number(readFileSync(this.#path, 'utf8')) === process.pid) unlinkSync(this.#path);
    } catch {
      // Somebody has taken it away, which is what was to be done.
    }
  }
}
