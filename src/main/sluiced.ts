import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { systemClock } from '../base/clock.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import { Supervisor } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { AdminGate } from './admin-gate.ts';
import { printBanner } from './banner.ts';
import { ConfigSource } from './config-source.ts';
import { startDemo } from './demo.ts';
import { identityOf } from './identity.ts';
import { watchMaterial } from './material-watch.ts';
import { createPinoLogger } from './pino-logger.ts';
import { notifyServiceManager, startWatchdog } from './service-manager.ts';
import { VERSION } from './version.ts';

const WORKER_ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
);
/**
 * V8 moves allocation sites whose objects once survived a scavenge to the old space for good. A
 * request's objects are garbage within a millisecond, but from there they keep all they refer to
 * alive until the next full collection: a tenth of a loaded worker's time went into copying that.
 */
const WORKER_FLAGS = ['--no-allocation-site-pretenuring'];
const FIRST_PASSED_DESCRIPTOR = 3;

/** Sockets that the service manager passed. Source: sd_listen_fds(3). */
function passedDescriptors(env: NodeJS.ProcessEnv): Map<string, number> {
  const descriptors = new Map<string, number>();
  if (env['LISTEN_PID'] !== String(process.pid)) return descriptors;
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  for (let index = 0; index < Number(env['LISTEN_FDS'] ?? 0); index++) {
    descriptors.set(names[index] || `fd${index}`, FIRST_PASSED_DESCRIPTOR + index);
  }
  return descriptors;
}

function workerCount(config: GatewayConfig): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers;
}

async function run(paths: string[]): Promise<void> {
  const source = new ConfigSource(paths, process.env);
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
    descriptors: passedDescriptors(process.env),
    load: () => source.load(),
  });
  const demo = await startDemo(config);
  const admin = new AdminGate(supervisor, source, logger);
  // First, so that nothing serves yet when the address is taken.
  await admin.listen(config);
  await supervisor.start();
  const stopMaterial = watchMaterial(supervisor, source, logger);
  const rotation = setInterval(() => supervisor.rotateTicketKey(), config.tickets.rotate);
  const stopWatchdog = startWatchdog(process.env);
  printBanner(config, supervisor);
  notifyServiceManager(process.env, 'READY=1');

  let stopping = false;
  const stop = async (signal: string) => {
    if (stopping) return;
    stopping = true;
    logger.info('draining', { signal, timeoutMs: config.shutdown.timeout });
    notifyServiceManager(process.env, 'STOPPING=1');
    admin.draining();
    stopMaterial();
    clearInterval(rotation);
    stopWatchdog();
    await supervisor.drain(supervisor.config.shutdown.timeout);
    await admin.close();
    demo.close();
    process.exit(0);
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  process.on('SIGHUP', () => {
    // The refusal has been logged and counted by the supervisor.
    supervisor.reload().catch(() => {});
  });
}

const program = new Command('sluiced')
  .description('The Sluice daemon: a gateway and load balancer')
  .version(VERSION)
  .requiredOption(
    '-c, --config <path...>',
    'configuration file or directory, YAML or JSON; several add up',
  )
  .action(async (options: { config: string[] }) => {
    try {
      await run(options.config);
    } catch (error) {
      const code = error instanceof SluiceError ? ` (${error.code})` : '';
      process.stderr.write(`${errorText(error)}${code}\n`);
      process.exit(1);
    }
  });

await program.parseAsync();
