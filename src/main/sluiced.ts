import { Command } from 'commander';
import { errorText, SluiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { type Inheritance, InheritanceBuilder } from '../gateway/supervisor/handover.ts';
import { type NativeHandle, openDescriptor } from '../net/handles.ts';
import { adopt, checkPlace } from './adoption.ts';
import { printBanner } from './banner.ts';
import { ConfigSource } from './config-source.ts';
import { startAgentProcess } from './daemon/agent-process.ts';
import { EngineHost } from './daemon/engine-host.ts';
import { engineFlags, givenFlags, idleFlags } from './daemon/flags.ts';
import { GatewayHost } from './gateway-host.ts';
import { PidFile } from './pid-file.ts';
import { createPinoLogger } from './pino-logger.ts';
import { openRunDirectory, type RunDirectory } from './run-directory.ts';
import { ServiceManager } from './service-manager.ts';
import { answerPredecessor, inherit, isSuccessor } from './succession.ts';
import { VERSION } from './version.ts';

const FIRST_PASSED_DESCRIPTOR = 3;

type Options = Readonly<Record<string, unknown>> & {
  readonly config?: string[];
  readonly configFile?: string;
  readonly pidfile?: string;
};

type Descriptors = ReadonlyMap<string, NativeHandle>;

/** Sockets that the service manager passed. Source: sd_listen_fds(3). */
function passedDescriptors(env: NodeJS.ProcessEnv): Map<string, NativeHandle> {
  const descriptors = new Map<string, NativeHandle>();
  if (env['LISTEN_PID'] !== String(process.pid)) return descriptors;
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  for (let index = 0; index < Number(env['LISTEN_FDS'] ?? 0); index++) {
    const handle = openDescriptor(FIRST_PASSED_DESCRIPTOR + index);
    descriptors.set(names[index] || `fd${index}`, handle);
  }
  return descriptors;
}

/** Everything that this process takes over: of a predecessor, of its orphans, of the manager. */
async function takeOver(
  succeeds: boolean,
  directory: RunDirectory | undefined,
  logger: Logger,
  passed: Descriptors,
): Promise<Inheritance> {
  const predecessor = succeeds ? await inherit() : undefined;
  if (directory && !succeeds) await checkPlace(directory);
  const left = directory && !succeeds ? await adopt(directory, logger) : undefined;
  const inheritance = predecessor ?? left ?? new InheritanceBuilder().result;
  return { ...inheritance, descriptors: new Map([...inheritance.descriptors, ...passed]) };
}

/** The engine when it is asked for, or nothing else is. */
function startEngine(options: Options, passed: Descriptors): Promise<EngineHost> | undefined {
  const flags = givenFlags(options);
  const { pidfile: _, ...own } = flags;
  const asked = Object.keys(own).length > 0 || options.configFile !== undefined;
  if (!asked && options.config) return undefined;
  const order = { flags, configFile: options.configFile, descriptors: passed };
  return EngineHost.start(order, startAgentProcess, createPinoLogger);
}

async function runGateway(
  paths: readonly string[],
  { pidfile }: Options,
  succeeds: boolean,
  engine: EngineHost | undefined,
  passed: Descriptors,
): Promise<void> {
  // A reader of the banner that is gone, or a full disk, is no reason to end.
  process.stdout.on('error', () => {});
  const source = new ConfigSource(paths, process.env);
  const loaded = source.load();
  const logger = createPinoLogger(loaded.config.log.level);
  const directory = openRunDirectory(process.env, paths, logger);
  // An engine has held it from its start; a predecessor holds it until this one serves.
  const pid = new PidFile(engine ? undefined : pidfile);
  process.once('exit', () => pid.release());
  if (!succeeds) pid.hold();
  const gateway = new GatewayHost({
    source,
    loaded,
    logger,
    inheritance: await takeOver(succeeds, directory, logger, passed),
    directory,
    succeeds,
    manager: new ServiceManager(process.env, logger),
    onLeft: () => process.exit(0),
    agentSocket: engine?.agentSocket,
  });
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
      await gateway.stop(signal);
      await engine?.close();
      process.exit(0);
    });
  }
  await gateway.start();
  if (succeeds) pid.hold(true);
  await answerPredecessor({ type: 'ready' });
  gateway.announce();
  printBanner(loaded.config, gateway.supervisor);
  process.on('SIGHUP', () => {
    gateway.reload();
    engine?.reload();
  });
  process.on('SIGUSR1', () => gateway.reopenLogs());
  process.on('SIGUSR2', () => {
    if (engine) logger.warn('no upgrade: a daemon with an engine is restarted, which cuts nothing');
    // A refusal has been logged where it was found.
    else gateway.upgrade().catch(() => {});
  });
}

function runEngine(engine: EngineHost): void {
  const manager = new ServiceManager(process.env, engine.logger);
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
      if (stopping) return;
      stopping = true;
      manager.stopping();
      await engine.close();
      process.exit(0);
    });
  }
  process.on('SIGHUP', () => engine.reload());
  manager.ready('the engine serves');
}

async function run(options: Options, succeeds: boolean): Promise<void> {
  const passed = passedDescriptors(process.env);
  const engine = await startEngine(options, passed);
  if (!options.config) {
    if (engine) runEngine(engine);
    return;
  }
  try {
    await runGateway(options.config, options, succeeds, engine, passed);
  } catch (error) {
    await engine?.close();
    throw error;
  }
}

const program = new Command('sluiced')
  .description('The Sluice daemon: a gateway and load balancer, and an engine for networks')
  .version(VERSION)
  .option(
    '-c, --config <path...>',
    'configuration of the gateway, file or directory, YAML or JSON; several add up',
  )
  .option('--config-file <file>', 'options of the engine as JSON, in the form of daemon.json');
for (const option of [...engineFlags(), ...idleFlags()]) program.addOption(option);
program.action(async (options: Options) => {
  const succeeds = isSuccessor(process.env);
  // Workers and later successors are told by their own starter.
  delete process.env['SLUICE_SUCCESSOR'];
  try {
    await run(options, succeeds);
  } catch (error) {
    const code = error instanceof SluiceError ? ` (${error.code})` : '';
    const why = `${errorText(error)}${code}`;
    process.stderr.write(`${why}\n`);
    if (succeeds) await answerPredecessor({ type: 'failed', why });
    process.exit(1);
  }
});

await program.parseAsync();
