import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SluiceError } from '../../base/errors.ts';
import { type Exec, must } from '../../kernel/exec.ts';

/** Reading the sizes of many files on a slow disk takes its time. */
const COUNT_TIMEOUT_MS = 120_000;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** The files of volumes, each in a folder of its own. */
export class Volumes {
  readonly #exec: Exec;
  readonly #root: string;

  constructor(exec: Exec, root: string) {
    this.#exec = exec;
    this.#root = root;
  }

  /** Makes the folder unless it is there; returns its path. */
  create(name: string): string {
    const path = join(this.#folder(name), '_data');
    // Names of other folders are nobody's business, their files are their modes'.
    mkdirSync(this.#folder(name), { recursive: true, mode: 0o711 });
    mkdirSync(path, { recursive: true, mode: 0o755 });
    return path;
  }

  async remove(name: string): Promise<void> {
    await rm(this.#folder(name), { recursive: true, force: true });
  }

  async bytes(name: string): Promise<number> {
    const argv = ['du', '--summarize', '--block-size=1', this.#folder(name)];
    return Number.parseInt(await must(this.#exec, argv, { timeoutMs: COUNT_TIMEOUT_MS }), 10);
  }

  #folder(name: string): string {
    if (NAME.test(name)) return join(this.#root, name);
    throw new SluiceError('E_AGENT_SPEC', `"${name}" is no name of a volume`);
  }
}
