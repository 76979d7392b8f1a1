import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Cell } from '../../base/metrics.ts';
import type { NativeHandle } from '../../net/handles.ts';
import type { FromWorker, ToWorker } from '../ipc.ts';
import { sharesOf } from './deal.ts';
import type { BoundSocket } from './socket-set.ts';
import { type WorkerLaunch, WorkerProcess } from './worker-process.ts';

const PULSE_MS = 1000;
/** A worker that has said nothing for this long is stuck: it is killed and replaced. */
const STUCK_MS = 10_000;
/** A worker that dies sooner than this after its start is replaced with a growing delay. */
const CRASH_LOOP_MS = 5000;
const MAX_RESPAWN_DELAY_MS = 5000;
/** After the deadline of a drain, for workers to end by themselves. */
const END_GRACE_MS = 1000;
const SETTLE_MS = 2000;

/** What the fleet asks of its owner. */
export type FleetOwner = {
  /** The message that brings a new worker up to date. */
  configure(): ToWorker;
  sockets(): readonly BoundSocket[];
  /** The socket on which the worker of a slot waits when it has lost its supervisor. */
  adoption(slot: number): NativeHandle | undefined;
  message(worker: WorkerProcess, message: FromWorker): void;
  gone(worker: WorkerProcess): void;
  /** Once a second, before the workers are asked for new figures. */
  pulse(): void;
};

type Cells = { readonly restarts: Cell; readonly looping: Cell };

/** A slot whose worker ends again and again soon after its start. */
export type CrashLoop = { readonly slot: number; readonly crashes: number; readonly how: string };

type Crashes = { count: number; how: string; respawn: NodeJS.Timeout | undefined };

/** The workers of one host: one for each slot, replaced when they end unasked. */
export class Fleet {
  readonly #launch: WorkerLaunch;
  readonly #owner: FleetOwner;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cells: Cells;
  readonly #workers = new Map<number, WorkerProcess>();
  /** Workers of slots that are no more, until they have finished their work. */
  readonly #leaving = new Set<WorkerProcess>();
  readonly #crashes = new Map<number, Crashes>();
  #slots = 0;
  #pulse: Timer | undefined;
  #statsId = 0;
  #stopping = false;
  #cut = 0;
  #onEmpty: (() => void) | undefined;

  constructor(launch: WorkerLaunch, owner: FleetOwner, clock: Clock, logger: Logger, cells: Cells) {
    this.#launch = launch;
    this.#owner = owner;
    this.#clock = clock;
    this.#logger = logger;
    this.#cells = cells;
  }

  get workers(): WorkerProcess[] {
    return [...this.#workers.values()];
  }

  get slots(): number {
    return this.#slots;
  }

  /** Slots without a worker, because it would crash at once again. */
  get crashLoops(): CrashLoop[] {
    return [...this.#crashes].flatMap(([slot, { count, how }]) =>
      count > 1 ? [{ slot, crashes: count, how }] : [],
    );
  }

  start(slots: number): void {
    this.#slots = slots;
    this.#spawn(range(0, slots));
    this.#beat();
  }

  /** Takes another number of slots: starts workers, or lets those above it finish their work. */
  resize(slots: number, drainMs: number): void {
    const before = this.#slots;
    this.#slots = slots;
    for (const slot of range(slots, before)) this.#dismiss(slot, drainMs);
    this.#spawn(range(before, slots));
  }

  broadcast(message: ToWorker, except?: WorkerProcess): void {
    for (const worker of this.#workers.values()) if (worker !== except) worker.send(message);
  }

  /** Gives every worker the sockets that are its to serve now, and takes back the others. */
  deal(): void {
    const manned = [...this.#workers.keys()].sort((a, b) => a - b);
    for (const worker of this.#workers.values()) {
      const shares = sharesOf(this.#owner.sockets(), worker.slot, manned);
      const wanted = new Set(shares.map(({ handle }) => handle));
      for (const { key, index, handle } of worker.held.values()) {
        if (wanted.has(handle)) continue;
        worker.held.delete(handle);
        worker.send({ type: 'unlisten', socket: key, index });
      }
      for (const share of shares) {
        if (worker.held.has(share.handle)) continue;
        worker.held.set(share.handle, share);
        const { key, index, handle, copies } = share;
        for (let copy = 0; copy < copies; copy++) {
          worker.send({ type: 'listen', socket: key, index, copy }, handle);
        }
      }
    }
  }

  /** Gives every worker the socket on which it can be adopted. */
  offerAdoption(): void {
    for (const worker of this.#workers.values()) this.#offerAdoption(worker);
  }

  /** Waits until every worker runs a configuration, for a while: one that starts may take longer. */
  async settle(generation: number): Promise<void> {
    const deadline = this.#clock.now() + SETTLE_MS;
    const behind = () => this.workers.some((worker) => worker.generation < generation);
    while (behind() && this.#clock.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Asks every worker for its figures; `pulse`: as is done once a second. */
  requestStats(pulse: boolean): number {
    this.#statsId++;
    this.broadcast({ type: 'stats-request', id: this.#statsId, pulse });
    return this.#statsId;
  }

  /**
   * Lets every worker finish its work; whoever is not done by then is ended. Resolves with the
   * number of connections that were cut off. Called again, it takes the shorter time.
   */
  async drain(timeoutMs: number, idle: 'close' | 'wait'): Promise<number> {
    this.#stopping = true;
    for (const { respawn } of this.#crashes.values()) clearTimeout(respawn);
    for (const worker of this.#all()) worker.send({ type: 'drain', timeoutMs, idle });
    const deadline = setTimeout(() => {
      for (const worker of this.#all()) worker.kill('SIGKILL');
    }, timeoutMs + END_GRACE_MS);
    if (this.#all().length > 0) {
      const before = this.#onEmpty;
      await new Promise<void>((resolve) => {
        this.#onEmpty = () => {
          before?.();
          resolve();
        };
      });
    }
    clearTimeout(deadline);
    this.#pulse?.cancel();
    return this.#cut;
  }

  #all(): WorkerProcess[] {
    return [...this.#workers.values(), ...this.#leaving];
  }

  #spawn(slots: readonly number[]): void {
    const started = slots.map((slot) => this.#start(slot));
    // The sockets come first: a worker that says it is configured listens.
    this.deal();
    for (const worker of started) worker.send(this.#owner.configure());
  }

  #start(slot: number): WorkerProcess {
    const worker: WorkerProcess = new WorkerProcess(slot, this.#launch, this.#clock.now(), {
      message: (message) => this.#receive(worker, message),
      exit: (code, signal) => this.#ended(worker, signal ?? `code ${code}`),
    });
    this.#workers.set(slot, worker);
    this.#offerAdoption(worker);
    return worker;
  }

  #offerAdoption(worker: WorkerProcess): void {
    const adoption = this.#owner.adoption(worker.slot);
    if (adoption) worker.send({ type: 'adoption' }, adoption);
  }

  #dismiss(slot: number, drainMs: number): void {
    const crashes = this.#crashes.get(slot);
    clearTimeout(crashes?.respawn);
    this.#crashes.delete(slot);
    const worker = this.#workers.get(slot);
    if (!worker) return;
    this.#workers.delete(slot);
    this.#leaving.add(worker);
    worker.send({ type: 'drain', timeoutMs: drainMs, idle: 'wait' });
  }

  #receive(worker: WorkerProcess, message: FromWorker): void {
    worker.heardAt = this.#clock.now();
    if (message.type === 'configured') {
      worker.ready = true;
      worker.generation = message.generation;
    }
    if (message.type === 'drained') this.#cut += message.cut;
    this.#owner.message(worker, message);
  }

  #ended(worker: WorkerProcess, how: string): void {
    const left = this.#leaving.delete(worker);
    if (this.#workers.get(worker.slot) === worker) this.#workers.delete(worker.slot);
    this.#owner.gone(worker);
    if (this.#stopping) {
      if (this.#all().length === 0) this.#onEmpty?.();
    } else if (!left) this.#replace(worker, how);
  }

  #replace({ slot, startedAt }: WorkerProcess, how: string): void {
    this.#cells.restarts.value++;
    const early = this.#clock.now() - startedAt < CRASH_LOOP_MS;
    const crashes = this.#crashes.get(slot) ?? { count: 0, how, respawn: undefined };
    crashes.count = early ? crashes.count + 1 : 0;
    crashes.how = how;
    this.#crashes.set(slot, crashes);
    this.#cells.looping.value = this.crashLoops.length;
    // The first replacement is immediate; only a loop of crashes is slowed down.
    const looping = crashes.count > 1;
    const delayMs = looping ? Math.min(MAX_RESPAWN_DELAY_MS, 100 * 2 ** crashes.count) : 0;
    this.#logger.warn('a worker ended; replacing it', { slot, how, delayMs });
    if (!looping) {
      this.#spawn([slot]);
      return;
    }
    // Meanwhile the others take what comes in at its sockets.
    this.deal();
    crashes.respawn = setTimeout(() => {
      if (!this.#stopping) this.#spawn([slot]);
    }, delayMs);
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
        if (now - worker.startedAt > CRASH_LOOP_MS) this.#crashes.delete(worker.slot);
      }
      this.#cells.looping.value = this.crashLoops.length;
      this.#owner.pulse();
      this.requestStats(true);
      this.#beat();
    });
  }
}

/** The numbers from `from` to below `to`. */
function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);
}
