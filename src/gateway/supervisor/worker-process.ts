import { type ChildProcess, fork } from 'node:child_process';
import type { NativeHandle } from '../../net/handles.ts';
import type { FromWorker, ToWorker } from '../ipc.ts';
import type { Share } from './deal.ts';

/** How worker processes are started. */
export type WorkerLaunch = {
  /** Path of the worker's entry point. */
  readonly entry: string;
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
};

/** One worker process in its slot. */
export class WorkerProcess {
  readonly slot: number;
  readonly startedAt: number;
  readonly #child: ChildProcess;
  /** Monotonic ms of its last sign of life. */
  heardAt: number;
  ready = false;
  /** The configuration that it has said it runs. */
  generation = 0;
  /** The listening sockets that it has been given. */
  readonly held = new Map<NativeHandle, Share>();

  constructor(
    slot: number,
    launch: WorkerLaunch,
    now: number,
    events: {
      message(message: FromWorker): void;
      exit(code: number | null, signal: string | null): void;
    },
  ) {
    this.slot = slot;
    this.startedAt = now;
    this.heardAt = now;
    this.#child = fork(launch.entry, [String(slot)], {
      execArgv: [...launch.execArgv],
      env: { ...launch.env },
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // A signal for the whole terminal group must not end workers before they have drained.
      detached: true,
      ...(launch.uid === undefined ? {} : { uid: launch.uid }),
      ...(launch.gid === undefined ? {} : { gid: launch.gid }),
    });
    this.#child.on('message', (message) => events.message(message as FromWorker));
    this.#child.on('exit', events.exit);
    // A send to a process that has just died: its exit event does what is needed.
    this.#child.on('error', () => {});
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  send(message: ToWorker, handle?: NativeHandle): void {
    if (!this.#child.connected) return;
    // A worker that ends at this moment is noticed by its exit.
    this.#child.send(message, handle as never, { keepOpen: true }, () => {});
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}
