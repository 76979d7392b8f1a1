import { Command } from 'commander';
import { errorText, SluiceError } from '../base/errors.ts';
import { startGateway } from './gateway-host.ts';
import { notifyServiceManager, startWatchdog } from './service-manager.ts';
import { VERSION } from './version.ts';

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

async function run(paths: readonly string[]): Promise<void> {
  const gateway = await startGateway(paths, passedDescriptors(process.env));
  const stopWatchdog = startWatchdog(process.env);
  notifyServiceManager(process.env, 'READY=1');
  let stopping = false;
  const stop = async (signal: string) => {
    if (stopping) return;
    stopping = true;
    notifyServiceManager(process.env, 'STOPPING=1');
    stopWatchdog();
    await gateway.stop(signal);
    process.exit(0);
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  process.on('SIGHUP', () => gateway.reload());
  process.on('SIGUSR1', () => gateway.reopenLogs?.());
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
