import { type ChildProcess, fork } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../base/clock.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { ResolverAnswer, ResolverOrder } from './resolver-orders.ts';

const ENTRY = fileURLToPath(new URL(`./resolver-main${extname(import.meta.url)}`, import.meta.url));
/** To enter namespaces, to take sockets from their holders, to read the program wherever it is. */
const RIGHTS = ['sys_admin', 'sys_ptrace', 'dac_read_search'];
/** How long an order may take, and each sandbox in it; a process that takes longer is ended. */
const ORDER_TIMEOUT_MS = 10_000;
const SANDBOX_TIMEOUT_MS = 1000;

/** The process that answers names, as the agent that started it sees it. */
export class ResolverProcess {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, (answer: ResolverAnswer | undefined) => void>();
  #next = 1;

  /** `argv`: of the program. `ended` is called once, with a reason. */
  constructor(argv: readonly string[], clock: Clock, ended: (why: string) => void) {
    this.#clock = clock;
    this.#child = fork(ENTRY, argv, {
      execPath: 'setpriv',
      execArgv: [
        `--bounding-set=${['-all', ...RIGHTS.map((right) => `+${right}`)].join(',')}`,
        ...['--no-new-privs', process.execPath, ...process.execArgv],
      ],
      env: { PATH: COMMAND_PATH },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // It outlives the agent, and a signal for the agent's whole group.
      detached: true,
    });
    this.#child.on('message', (answer: ResolverAnswer) => this.#waiting.get(answer.id)?.(answer));
    const end = (why: string) => {
      for (const settle of this.#waiting.values()) settle(undefined);
      ended(why);
    };
    this.#child.once('exit', (code, signal) => end(`ended with ${signal ?? code}`));
    this.#child.once('error', (error) => {
      if (this.#child.pid === undefined) end(`cannot be started: ${error.message}`);
    });
  }

  /** Undefined: it ended before it had answered. */
  order(order: Omit<ResolverOrder, 'id'>): Promise<ResolverAnswer | undefined> {
    const id = this.#next++;
    const timeoutMs = ORDER_TIMEOUT_MS + order.sandboxes.length * SANDBOX_TIMEOUT_MS;
    const timer = this.#clock.after(timeoutMs, () => this.#child.kill('SIGKILL'));
    return new Promise((resolve) => {
      this.#waiting.set(id, (answer) => {
        this.#waiting.delete(id);
        timer.cancel();
        resolve(answer);
      });
      // One that ends at this moment is noticed by its exit.
      this.#child.send({ ...order, id }, () => {});
    });
  }

  /** Leaves it to itself: it goes on while it has sandboxes. */
  leave(): void {
    this.#child.removeAllListeners('exit');
    if (this.#child.connected) this.#child.disconnect();
  }
}
