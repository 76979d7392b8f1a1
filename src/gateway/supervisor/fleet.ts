import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Cell } from '../../base/metrics.ts';
import type { FromWorker, ToWorker } from '../ipc.ts';
import type { BoundSocket } from './socket-set.ts';
import { type WorkerLaunch, WorkerProcess } from './worker-process.ts';

const PULSE_MS = 1000;
/** A worker that has said nothing for this long is stuck: it is killed and replaced. */
const STUCK_MS = 10_000;
/** A worker that dies sooner than this after its start is replaced with a growing delay. */
const CRASH_LOOP_MS = 5000;
const MAX_RESPAWN_DELAY_MS = 5000;

/** What the fleet asks of its owner. */
export type FleetOwner = {
  /** The message that brings a new worker up to date. */
  configure(): ToWorker;
  sockets(): readonly BoundSocket[];
  message(worker: WorkerProcess, message: FromWorker): void;
  gone(worker: WorkerProcess): void;
};

/** The workers of one host: one for each slot, replaced when they end unasked. */
export class Fleet {
  readonly #launch: WorkerLaunch;
  readonly #owner: FleetOwner;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #restarts: Cell;
  readonly #workers = new Map<number, WorkerProcess>();
  readonly #crashes = new Map<number, number>();
  #pulse: Timer | undefined;
  #statsId = 0;
  #stopping = false;
  #onEmpty: (() => void) | undefined;

  constructor(
    launch: WorkerLaunch,
    owner: FleetOwner,
    clock: Clock,
    logger: Logger,
    restarts: Cell,
  ) {
    this.#launch = launch;
    this.#owner = owner;
    this.#clock = clock;
    this.#logger = logger;
    this.#restarts = restarts;
  }

  get workers(): WorkerProcess[] {
    return [...this.#workers.values()];
  }

  start(slots: number): void {
    for (let slot = 0; slot < slots; slot++) this.#spawn(slot);
    this.#beat();
  }

  broadcast(message: ToWorker, except?: WorkerProcess): void {
    for (const worker of this.#workers.values()) if (worker !== except) worker.send(message);
  }

  /** Hands each worker its own socket of a bind. */
  listen(socket: BoundSocket): void {
    for (const worker of this.#workers.values()) this.#listenOn(worker, socket);
  }

  /** Asks every worker for its figures. */
  requestStats(): number {
    this.#statsId++;
    this.broadcast({ type: 'stats-request', id: this.#statsId });
    return this.#statsId;
  }

  /** Lets every worker finish its work; whoever is not done by then is ended. */
  drain(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    this.broadcast({ type: 'drain', timeoutMs });
    const deadline = setTimeout(() => this.#killAll(), timeoutMs + 1000);
    return new Promise((resolve) => {
      this.#onEmpty = () => {
        clearTimeout(deadline);
        this.#pulse?.cancel();
        resolve();
      };
      if (this.#workers.size === 0) this.#onEmpty();
    });
  }

  #spawn(slot: number): void {
    const worker: WorkerProcess = new WorkerProcess(slot, this.#launch, this.#clock.now(), {
      message: (message) => this.#receive(worker, message),
      exit: (code, signal) => this.#ended(worker, signal ?? `code ${code}`),
    });
    this.#workers.set(slot, worker);
    for (const socket of this.#owner.sockets()) this.#listenOn(worker, socket);
    worker.send(this.#owner.configure());
  }

  #listenOn(worker: WorkerProcess, socket: BoundSocket): void {
    worker.send({ type: 'listen', socket: socket.key }, socket.handles[worker.slot]);
  }

  #receive(worker: WorkerProcess, message: FromWorker): void {
    worker.heardAt = this.#clock.now();
    if (message.type === 'configured') worker.ready = true;
    this.#owner.message(worker, message);
  }

  #ended(worker: WorkerProcess, how: string): void {
    if (this.#workers.get(worker.slot) === worker) this.#workers.delete(worker.slot);
    this.#owner.gone(worker);
    if (this.#stopping) {
      if (this.#workers.size === 0) this.#onEmpty?.();
      return;
    }
    this.#restarts.value++;
    const early = this.#clock.now() - worker.startedAt < CRASH_LOOP_MS;
    const crashes = early ? (this.#crashes.get(worker.slot) ?? 0) + 1 : 0;
    this.#crashes.set(worker.slot, crashes);
    // The first replacement is immediate; only a loop of crashes is slowed down.
    const delay = crashes < 2 ? 0 : Math.min(MAX_RESPAWN_DELAY_MS, 100 * 2 ** crashes);
    this.#logger.warn('a worker ended; replacing it', { slot: worker.slot, how, delayMs: delay });
    if (delay === 0) this.#spawn(worker.slot);
    else setTimeout(() => this.#stopping || this.#spawn(worker.slot), delay);
  }

  #beat(): void {
    const due = this.#clock.now() + PULSE_MS;
    this.#pulse = this.#clock.after(PULSE_MS, () => {
      const now = this.#clock.now();
      // Who was asleep itself, or at work on a large file, has not heard what they said meanwhile.
      const slept = now - due > PULSE_MS;
      for (const worker of this.#workers.values()) {
        if (slept) worker.heardAt = now;
        if (now - worker.heardAt > STUCK_MS) worker.kill('SIGKILL');
      }
      this.requestStats();
      this.#beat();
    });
  }

  #killAll(): void {
    for (const worker of this.#workers.values()) worker.kill('SIGKILL');
  }
}
