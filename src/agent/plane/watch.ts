import { type ChildProcess, spawn } from 'node:child_process';
import type { Timer } from '../../base/clock.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { AgentTools } from './tools.ts';

const RESTART_AFTER_MS = 1000;
/** Events come in bursts: one look after the burst is enough. */
const SETTLE_MS = 150;
/** Events of our own commands arrive a little after them. */
const OWN_TAIL_MS = 100;

/** Tells when the kernel's links or the table change by another hand. */
export class KernelWatch {
  readonly #tools: AgentTools;
  readonly #changed: () => void;
  #children: ChildProcess[] = [];
  #timer: Timer | undefined;
  #quietUntil = 0;
  #closed = false;

  constructor(tools: AgentTools, changed: () => void) {
    this.#tools = tools;
    this.#changed = changed;
  }

  start(): void {
    const table = ` inet ${this.#tools.naming.table}`;
    this.#follow(['nft', 'monitor'], (text) => text.includes(table));
    this.#follow(['ip', 'monitor', 'link', 'address'], (text) => text.trim() !== '');
  }

  /** Events from now on until a moment after `release` are of our own making. */
  hush(): { release: () => void } {
    this.#quietUntil = Number.POSITIVE_INFINITY;
    return {
      release: () => {
        this.#quietUntil = this.#tools.clock.now() + OWN_TAIL_MS;
      },
    };
  }

  #follow(argv: readonly string[], matters: (text: string) => boolean): void {
    if (this.#closed) return;
    const [file = '', ...rest] = argv;
    const child = spawn(file, rest, {
      env: { PATH: COMMAND_PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#children.push(child);
    child.stdout.on('data', (data: Buffer) => {
      if (this.#tools.clock.now() < this.#quietUntil) return;
      if (matters(data.toString('latin1'))) this.#settle();
    });
    child.on('error', () => {});
    child.on('close', () => {
      this.#children = this.#children.filter((other) => other !== child);
      if (this.#closed) return;
      // The monitor gives up when it cannot keep up: what it missed is looked for.
      this.#tools.clock.after(RESTART_AFTER_MS, () => this.#follow(argv, matters));
      this.#settle();
    });
  }

  #settle(): void {
    this.#timer ??= this.#tools.clock.after(SETTLE_MS, () => {
      this.#timer = undefined;
      this.#changed();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const child of this.#children) child.kill('SIGKILL');
  }
}
