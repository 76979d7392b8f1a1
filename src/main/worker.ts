import { systemClock } from '../base/clock.ts';
import { openAccessLog } from '../gateway/access-log/access-log.ts';
import type { FromWorker, ToWorker } from '../gateway/ipc.ts';
import { startLoadMeter } from '../gateway/metrics/worker-load.ts';
import { Worker } from '../gateway/worker/worker.ts';
import { loadNative } from '../kernel/native.ts';
import type { NativeHandle } from '../net/handles.ts';
import { offerUserTimeout } from '../net/peer-watch.ts';
import { outliveSupervisor } from './orphan.ts';
import { createPinoLogger } from './pino-logger.ts';
import { processResources } from './resources.ts';

const logger = createPinoLogger('info', { worker: Number(process.argv[2] ?? 0) });

let adoption: NativeHandle | undefined;
let supervised = true;
let draining = false;

const worker = new Worker({
  clock: systemClock,
  logger,
  send: (message: FromWorker) => {
    // A supervisor that ends at this moment is noticed by `disconnect`.
    if (supervised && process.connected) process.send?.(message, undefined, {}, () => {});
  },
  openAccessLog,
  setLogLevel: (level) => logger.setLevel(level),
  load: startLoadMeter(),
  resources: processResources(),
});

/** Ends this process when its work is done; a later, shorter deadline holds as well. */
async function drain(timeoutMs: number, idle: 'close' | 'wait'): Promise<void> {
  draining = true;
  await worker.drain(timeoutMs, idle);
  await logger.settle();
  process.exit(0);
}

process.on('message', (message: ToWorker, handle: unknown) => {
  if (message.type === 'drain') void drain(message.timeoutMs, message.idle);
  else if (message.type === 'adoption') adoption = handle as NativeHandle | undefined;
  else worker.receive(message, handle as NativeHandle | undefined);
});

// Signals are the supervisor's business: it drains its workers by message.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
// A log rotation may signal the whole group.
process.on('SIGUSR1', () => worker.reopenLogs());
process.on('SIGTERM', () => void drain(0, 'close'));

process.once('disconnect', () => {
  supervised = false;
  if (draining) return;
  logger.warn('the supervisor is gone; serving on without it');
  outliveSupervisor(worker, adoption, logger);
});

// Not waited for: a worker that takes over has clients in its queue.
void loadNative().then((native) => {
  if (native) offerUserTimeout((fd, timeoutMs) => native.setUserTimeout(fd, timeoutMs));
});

process.send?.({ type: 'started' } satisfies FromWorker);
