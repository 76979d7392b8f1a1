import { execFile } from 'node:child_process';
import type { Logger } from '../base/logger.ts';

/** Speaks to systemd, when that has started this process. Source: sd_notify(3). */
export class ServiceManager {
  readonly #env: NodeJS.ProcessEnv;
  readonly #logger: Logger;
  #watchdog: NodeJS.Timeout | undefined;
  #broken = false;
  #queue: Promise<void> = Promise.resolve();

  constructor(env: NodeJS.ProcessEnv, logger: Logger) {
    this.#env = env;
    this.#logger = logger;
  }

  /** This process serves; from here on it also shows signs of life, at half the interval asked for. */
  ready(status: string): void {
    this.#notify('READY=1', `MAINPID=${process.pid}`, `STATUS=${status}`);
    const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = this.#env;
    const mine = pid === undefined || pid === String(process.pid);
    const intervalMs = Number(usec ?? 0) / 2000;
    if (this.#watchdog || !mine || !(intervalMs > 0)) return;
    this.#watchdog = setInterval(() => this.#notify('WATCHDOG=1'), intervalMs);
    this.#watchdog.unref();
  }

  reloading(): void {
    const usec = process.hrtime.bigint() / 1000n;
    this.#notify('RELOADING=1', `MONOTONIC_USEC=${usec}`);
  }

  stopping(): void {
    this.#notify('STOPPING=1', 'STATUS=finishing the work under way');
  }

  close(): void {
    clearInterval(this.#watchdog);
  }

  /** In order, because the last state counts. */
  #notify(...lines: string[]): void {
    if (!this.#env['NOTIFY_SOCKET']) return;
    this.#queue = this.#queue.then(() => this.#send(lines));
  }

  #send(lines: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      // Node has no datagram unix sockets; systemd's own tool speaks for us (NotifyAccess=all).
      execFile('systemd-notify', [...lines], (error) => {
        if (error && !this.#broken) {
          this.#broken = true;
          this.#logger.warn('cannot tell the service manager', { why: error.message });
        }
        resolve();
      });
    });
  }
}
