import { type ChildProcess, spawn } from 'node:child_process';
import type { Timer } from '../../base/clock.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { AgentTools } from './tools.ts';

const RESTART_AFTER_MS = 1000;
/** Events come in bursts: one look after the burst is enough. */
const SETTLE_MS = 200;
/** A look may take this part of the time: the larger the host, the rarer the looks. */
const LOOK_SHARE = 0.3;

const GENERATION = /^# new generation \d+ by process (\d+)/;

/** Of what the kernel told a change since the last look. */
export type ChangedParts = { links: boolean; table: boolean };

/** Reads what `nft monitor` prints; `foreign` is called when others have changed a table. */
export function tableEvents(
  table: string,
  ownProcess: (pid: number) => boolean,
  foreign: () => void,
): (text: string) => void {
  const mentions = ` inet ${table} `;
  let rest = '';
  let touched = false;
  return (text) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      // A transaction's events come first, then the line that tells who made it.
      const author = GENERATION.exec(line)?.[1];
      if (author === undefined) touched ||= `${line} `.includes(mentions);
      else {
        if (touched && !ownProcess(Number(author))) foreign();
        touched = false;
      }
    }
  };
}

/**
 * Tells when the kernel's links or the table have changed, by whatever hand: what others do while
 * we work must not be missed, and a look that finds nothing changes nothing, and so ends there.
 */
export class KernelWatch {
  readonly #tools: AgentTools;
  readonly #ownProcess: (pid: number) => boolean;
  readonly #changed: (parts: ChangedParts) => Promise<void>;
  #children: ChildProcess[] = [];
  #timer: Timer | undefined;
  #parts: ChangedParts = { links: false, table: false };
  #notBefore = 0;
  #closed = false;

  /** `ownProcess`: whether a change by a process is known already. */
  constructor(
    tools: AgentTools,
    ownProcess: (pid: number) => boolean,
    changed: (parts: ChangedParts) => Promise<void>,
  ) {
    this.#tools = tools;
    this.#ownProcess = ownProcess;
    this.#changed = changed;
  }

  start(): void {
    const { table } = this.#tools.naming;
    const settle = () => this.#settle('table');
    this.#follow('table', ['nft', 'monitor'], tableEvents(table, this.#ownProcess, settle));
    this.#follow('links', ['ip', 'monitor', 'link', 'address'], () => this.#settle('links'));
  }

  #follow(part: keyof ChangedParts, argv: readonly string[], read: (text: string) => void): void {
    if (this.#closed) return;
    const [file = '', ...rest] = argv;
    const child = spawn(file, rest, {
      env: { PATH: COMMAND_PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#children.push(child);
    child.stdout.on('data', (data: Buffer) => read(data.toString('latin1')));
    child.on('error', () => {});
    child.on('close', () => {
      this.#children = this.#children.filter((other) => other !== child);
      if (this.#closed) return;
      // The monitor gives up when it cannot keep up: what it missed is looked for.
      this.#tools.clock.after(RESTART_AFTER_MS, () => this.#follow(part, argv, read));
      this.#settle(part);
    });
  }

  #settle(part: keyof ChangedParts): void {
    this.#parts[part] = true;
    const { clock } = this.#tools;
    const delay = Math.max(SETTLE_MS, this.#notBefore - clock.now());
    this.#timer ??= clock.after(delay, async () => {
      this.#timer = undefined;
      const start = clock.now();
      const parts = this.#parts;
      this.#parts = { links: false, table: false };
      await this.#changed(parts);
      const took = clock.now() - start;
      this.#notBefore = clock.now() + took / LOOK_SHARE;
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const child of this.#children) child.kill('SIGKILL');
  }
}
