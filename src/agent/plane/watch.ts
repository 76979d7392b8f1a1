import { type ChildProcess, spawn } from 'node:child_process';
import type { Timer } from '../../base/clock.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { NetfilterEvents } from '../../kernel/native.ts';
import { type TableEvent, tableEventsOf } from '../../kernel/nft-netlink.ts';
import type { AgentTools } from './tools.ts';

/** Nothing that a monitor has to say is as long. */
const MAX_LINE_CHARS = 1024 * 1024;
const RESTART_AFTER_MS = 1000;
/** Events come in bursts: one look after the burst is enough. */
const SETTLE_MS = 200;
/** How often the kernel's own messages are fetched. */
const READ_EVERY_MS = 200;
/** A look may take this part of the time: the larger the host, the rarer the looks. */
const LOOK_SHARE = 0.3;

const TABLE = / inet (\S+)/;
const GENERATION = /^# new generation \d+ by process (\d+)/;

/** Of what the kernel told a change since the last look. */
export type ChangedParts = { links: boolean; table: boolean };

/** Takes what is told of tables; `foreign` is called when others have changed the one. */
export function foreignChanges(
  table: string,
  ownProcess: (pid: number) => boolean,
  foreign: () => void,
): (events: Iterable<TableEvent>) => void {
  let touched = false;
  return (events) => {
    for (const event of events) {
      // A transaction's events come first, then who made it.
      if ('table' in event) touched ||= event.table === table;
      else {
        if (touched && !ownProcess(event.author)) foreign();
        touched = false;
      }
    }
  };
}

/**
 * Reads what `nft monitor` prints, wherever it is cut. `endless` is called when it is of no use any
 * more: nft 1.0.6 falls into a number without an end where an interval is part of a longer key.
 */
export function monitorEvents(endless: () => void): (text: string) => TableEvent[] {
  let rest = '';
  return (text) => {
    const lines = `${rest}${text}`.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_CHARS) {
      rest = '';
      endless();
    }
    return lines.flatMap((line): TableEvent[] => {
      const author = GENERATION.exec(line)?.[1];
      if (author !== undefined) return [{ author: Number(author) }];
      const table = TABLE.exec(line)?.[1];
      return table === undefined ? [] : [{ table }];
    });
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
  #events: NetfilterEvents | undefined;
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
    const { naming, native } = this.#tools;
    const settle = () => this.#settle('table');
    const take = foreignChanges(naming.table, this.#ownProcess, settle);
    if (native) {
      this.#events = native.netfilterEvents();
      this.#read(this.#events, take);
    } else {
      this.#follow('table', ['nft', 'monitor'], (end) => {
        const lines = monitorEvents(end);
        return (text) => take(lines(text));
      });
    }
    this.#follow('links', ['ip', 'monitor', 'link', 'address'], () => () => this.#settle('links'));
  }

  #read(events: NetfilterEvents, take: (events: Iterable<TableEvent>) => void): void {
    if (this.#closed) return;
    const messages = events.read();
    if (messages) take(tableEventsOf(messages));
    else this.#settle('table');
    this.#tools.clock.after(READ_EVERY_MS, () => this.#read(events, take));
  }

  /** Keeps a monitor running; `open` gives each run a reader, and a way to end it. */
  #follow(
    part: keyof ChangedParts,
    argv: readonly string[],
    open: (end: () => void) => (text: string) => void,
  ): void {
    if (this.#closed) return;
    const [file = '', ...rest] = argv;
    const child = spawn(file, rest, {
      env: { PATH: COMMAND_PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#children.push(child);
    const read = open(() => child.kill('SIGKILL'));
    child.stdout.on('data', (data: Buffer) => read(data.toString('latin1')));
    child.on('error', () => {});
    child.on('close', () => {
      this.#children = this.#children.filter((other) => other !== child);
      if (this.#closed) return;
      // A monitor gives up when it cannot keep up: what it missed is looked for.
      this.#tools.clock.after(RESTART_AFTER_MS, () => this.#follow(part, argv, open));
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
    this.#events?.close();
    for (const child of this.#children) child.kill('SIGKILL');
  }
}
