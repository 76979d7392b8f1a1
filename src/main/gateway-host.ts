import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import { Supervisor } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { AdminGate } from './admin-gate.ts';
import { printBanner } from './banner.ts';
import { ConfigSource } from './config-source.ts';
import type { DaemonPart } from './daemon-part.ts';
import { startDemo } from './demo.ts';
import { identityOf } from './identity.ts';
import { watchMaterial } from './material-watch.ts';
import { createPinoLogger } from './pino-logger.ts';

const WORKER_ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
);
/**
 * V8 moves allocation sites whose objects once survived a scavenge to the old space for good. A
 * request's objects are garbage within a millisecond, but from there they keep all they refer to
 * alive until the next full collection: a tenth of a loaded worker's time went into copying that.
 */
const WORKER_FLAGS = ['--no-allocation-site-pretenuring'];
function workerCount(config: GatewayConfig): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers;
}

/** Starts the gateway from its configuration files. Throws when one is refused. */
export async function startGateway(
  paths: readonly string[],
  descriptors: ReadonlyMap<string, number>,
): Promise<DaemonPart> {
  const source = new ConfigSource(paths, process.env);
  // A reader of the banner that is gone, or a full disk, is no reason to end.
  process.stdout.on('error', () => {});
  const loaded = source.load();
  const { config } = loaded;
  const logger = createPinoLogger(config.log.level);
  const supervisor = new Supervisor(loaded, {
    clock: systemClock,
    logger,
    launch: {
      entry: WORKER_ENTRY,
      execArgv: [...process.execArgv, ...WORKER_FLAGS],
      ...identityOf(config),
    },
    slots: workerCount(config),
    descriptors: descriptors,
    load: () => source.load(),
    setLogLevel: (level) => logger.setLevel(level),
  });
  const demo = await startDemo(config);
  const admin = new AdminGate(supervisor, source, logger);
  // First, so that nothing serves yet when the address is taken.
  await admin.listen(config);
  await supervisor.start();
  const stopMaterial = watchMaterial(supervisor, source, logger);
  const rotation = setInterval(() => supervisor.rotateTicketKey(), config.tickets.rotate);
  printBanner(config, supervisor);
  return {
    stop: async (signal) => {
      logger.info('draining', { signal, timeoutMs: config.shutdown.timeout });
      admin.draining();
      stopMaterial();
      clearInterval(rotation);
      await supervisor.drain(supervisor.config.shutdown.timeout);
      await admin.close();
      demo.close();
      await logger.settle();
    },
    reopenLogs: () => supervisor.reopenLogs(),
    reload: () => {
      supervisor.reopenLogs();
      // The refusal has been logged and counted by the supervisor.
      supervisor.reload().catch(() => {});
    },
  };
}
