import { systemClock } from '../base/clock.ts';
import { openAccessLog } from '../gateway/access-log/access-log.ts';
import type { FromWorker, ToWorker } from '../gateway/ipc.ts';
import { startLagMeter } from '../gateway/metrics/worker-lag.ts';
import { Worker } from '../gateway/worker/worker.ts';
import type { NativeHandle } from '../net/handles.ts';
import { watchForSuccessor } from './orphan.ts';
import { createPinoLogger } from './pino-logger.ts';

const logger = createPinoLogger('info', { worker: Number(process.argv[2] ?? 0) });

const worker = new Worker({
  clock: systemClock,
  logger,
  send: (message: FromWorker) => {
    // A supervisor that ends at this moment is noticed by `disconnect`.
    if (process.connected) process.send?.(message, undefined, {}, () => {});
  },
  openAccessLog,
  setLogLevel: (level) => logger.setLevel(level),
  lagMs: startLagMeter(),
});

async function end(drainMs: number): Promise<void> {
  await worker.drain(drainMs);
  await logger.settle();
  process.exit(0);
}

process.on('message', (message: ToWorker, handle: unknown) => {
  if (message.type === 'drain') void end(message.timeoutMs);
  else worker.receive(message, handle as NativeHandle | undefined);
});

// Signals are the supervisor's business: it drains its workers by message.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
// A log rotation may signal the whole group.
process.on('SIGUSR1', () => worker.reopenLogs());
process.on('SIGTERM', () => void end(0));

process.on('disconnect', () => {
  logger.warn('the supervisor is gone; serving on without it');
  watchForSuccessor(worker, logger);
});

process.send?.({ type: 'started' } satisfies FromWorker);
