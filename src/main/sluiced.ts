import { Command } from 'commander';
import { errorText, SluiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { type Inheritance, InheritanceBuilder } from '../gateway/supervisor/handover.ts';
import { type NativeHandle, openDescriptor } from '../net/handles.ts';
import { adopt, checkPlace } from './adoption.ts';
import { printBanner } from './banner.ts';
import { ClusterEdge, wantsCluster } from './cluster-edge.ts';
import { ConfigSource } from './config-source.ts';
import { EngineHost, type EngineOrder } from './daemon/engine-host.ts';
import { engineFlags, givenFlags, idleFlags } from './daemon/flags.ts';
import { GatewayHost } from './gateway-host.ts';
import { PidFile } from './pid-file.ts';
import { createPinoLogger } from './pino-logger.ts';
import { openRunDirectory, type RunDirectory } from './run-directory.ts';
import { ServiceManager } from './service-manager.ts';
import {
  claim,
  inherit,
  isSuccessor,
  type Legacy,
  startSuccessor,
  takeClients,
  tellPredecessor,
} from './succession.ts';
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

/** Everything that the gateway takes over: of a predecessor, of its orphans, of the manager. */
async function takeOver(
  legacy: Legacy | undefined,
  directory: RunDirectory | undefined,
  logger: Logger,
  passed: Descriptors,
): Promise<Inheritance> {
  if (directory && !legacy) await checkPlace(directory);
  const left = directory && !legacy ? await adopt(directory, logger) : undefined;
  const inheritance = legacy?.gateway ?? left ?? new InheritanceBuilder().result;
  return { ...inheritance, descriptors: new Map([...inheritance.descriptors, ...passed]) };
}

/** What the engine is started from, when it is asked for or nothing else is. */
function engineOrder(
  options: Options,
  descriptors: Descriptors,
  legacy: Legacy | undefined,
): EngineOrder | undefined {
  const flags = givenFlags(options);
  const { pidfile: _, ...own } = flags;
  const asked = Object.keys(own).length > 0 || options.configFile !== undefined;
  if (!asked && options.config) return undefined;
  return {
    ...{ flags, configFile: options.configFile },
    edge: options.config ? new ClusterEdge() : undefined,
    sockets: { descriptors, inherited: legacy?.fronts ?? new Map() },
    claim: legacy && legacy.fronts.size > 0 ? claim : undefined,
    onLost: () => process.exit(1),
  };
}

async function startEngine(order: EngineOrder): Promise<EngineHost> {
  const engine = await EngineHost.start(order, createPinoLogger);
  takeClients((key, socket) => engine.take(key, socket));
  return engine;
}

async function runGateway(
  paths: readonly string[],
  { pidfile }: Options,
  legacy: Legacy | undefined,
  order: EngineOrder | undefined,
  passed: Descriptors,
): Promise<void> {
  // A reader of the banner that is gone, or a full disk, is no reason to end.
  process.stdout.on('error', () => {});
  const cluster = order?.edge;
  if (legacy?.mesh) cluster?.inherit(legacy.mesh);
  const source = new ConfigSource(paths, process.env, cluster);
  let loaded = source.load();
  if (cluster) cluster.wanted = wantsCluster(loaded.written);
  const logger = createPinoLogger(loaded.config.log.level);
  const directory = openRunDirectory(process.env, paths, logger);
  // An engine has one of its own; a predecessor holds it until this one serves.
  const pid = new PidFile(order ? undefined : pidfile);
  process.once('exit', () => pid.release());
  if (!legacy) pid.hold();
  let engine = order && !legacy ? await startEngine(order) : undefined;
  // The engine has told meanwhile what its cluster serves.
  if (engine) loaded = source.again(loaded);
  const gateway = new GatewayHost({
    source,
    loaded,
    cluster,
    logger,
    inheritance: await takeOver(legacy, directory, logger, passed),
    directory,
    succeeds: legacy !== undefined,
    manager: new ServiceManager(process.env, logger),
    onLeft: () => void (engine?.left ?? Promise.resolve()).then(() => process.exit(0)),
    agentSocket: order && EngineHost.agentSocket(order),
    engine: () => engine,
    claim: async () => {
      if (order) engine ??= await startEngine(order);
    },
  });
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
      await gateway.stop(signal);
      await engine?.close();
      process.exit(0);
    });
  }
  process.on('SIGHUP', () => {
    gateway.reload();
    engine?.reload();
  });
  process.on('SIGUSR1', () => gateway.reopenLogs());
  // A refusal has been logged where it was found.
  process.on('SIGUSR2', () => void gateway.upgrade().catch(() => {}));
  try {
    await gateway.start();
  } catch (error) {
    await engine?.close();
    throw error;
  }
  if (legacy) pid.hold(true);
  await tellPredecessor({ type: 'ready' });
  gateway.announce();
  printBanner(loaded.config, gateway.supervisor);
}

async function runEngine(order: EngineOrder): Promise<void> {
  const engine = await startEngine(order);
  const { logger } = engine;
  const manager = new ServiceManager(process.env, logger);
  let state: 'serving' | 'upgrading' | 'stopping' = 'serving';
  let stopSuccessor = () => {};
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
      if (state === 'stopping') return;
      state = 'stopping';
      stopSuccessor();
      manager.stopping();
      await engine.close();
      process.exit(0);
    });
  }
  const upgrade = async () => {
    if (state !== 'serving') return;
    state = 'upgrading';
    try {
      const pid = await startSuccessor(engine, (stop) => {
        stopSuccessor = stop;
      });
      logger.info('a new daemon has taken over', { pid });
      manager.close();
      await engine.left;
      await logger.settle();
      process.exit(0);
    } catch (error) {
      logger.error('upgrade refused, this daemon serves on', { why: errorText(error) });
    }
    if (state === 'upgrading') state = 'serving';
  };
  process.on('SIGHUP', () => engine.reload());
  process.on('SIGUSR2', () => void upgrade());
  await tellPredecessor({ type: 'ready' });
  manager.ready('the engine serves');
}

async function run(options: Options, succeeds: boolean): Promise<void> {
  const passed = passedDescriptors(process.env);
  const legacy = succeeds ? await inherit() : undefined;
  const order = engineOrder(options, passed, legacy);
  if (options.config) await runGateway(options.config, options, legacy, order, passed);
  else if (order) await runEngine(order);
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
    if (succeeds) await tellPredecessor({ type: 'failed', why });
    process.exit(1);
  }
});

await program.parseAsync();
