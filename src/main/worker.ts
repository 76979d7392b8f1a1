import { systemClock } from '../base/clock.ts';
import { openAccessLog } from '../gateway/access-log/access-log.ts';
import type { FromWorker, ToWorker } from '../gateway/ipc.ts';
import { startLagMeter } from '../gateway/metrics/worker-lag.ts';
import { Worker } from '../gateway/worker/worker.ts';
import type { NativeHandle } from '../net/handles.ts';
import { watchForSuccessor } from './orphan.ts';
import { createPinoLogger } from './pino-logger.ts';

const logger = createPinoLogger('info').child({ worker: Number(process.argv[2] ?? 0) });

const worker = new Worker({
  clock: systemClock,
  logger,
  send: (message: FromWorker) => {
    // A supervisor that ends at this moment is noticed by `disconnect`.
    if (process.connected) process.send?.(message, undefined, {}, () => {});
  },
  openAccessLog,
  lagMs: startLagMeter(),
});

process.on('message', (message: ToWorker, handle: unknown) => {
  if (message.type === 'drain') void worker.drain(message.timeoutMs).then(() => process.exit(0));
  else worker.receive(message, handle as NativeHandle | undefined);
});

// Signals are the supervisor's business: it drains its workers by message.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
process.on('SIGTERM', () => void worker.drain(0).then(() => process.exit(0)));

process.on('disconnect', () => {
  logger.warn('the supervisor is gone; serving on without it');
  watchForSuccessor(worker, logger);
});

process.send?.({ type: 'started' } satisfies FromWorker);
