import type { Command } from 'commander';
import { errorText, SluiceError } from '../../base/errors.ts';
import { parseDuration, parseSize } from '../../base/values.ts';
import { frameReader } from '../../client/engine-client.ts';
import { parsePublished } from '../../client/port-spec.ts';
import { collect, type EngineContext, pairs } from './engine-context.ts';

type RunOptions = {
  readonly detach?: boolean;
  readonly interactive?: boolean;
  readonly rm?: boolean;
  readonly name?: string;
  readonly network?: string[];
  readonly networkAlias?: string[];
  readonly ip?: string;
  readonly ip6?: string;
  readonly linkLocalIp?: string[];
  readonly macAddress?: string;
  readonly link?: string[];
  readonly publish?: string[];
  readonly publishAll?: boolean;
  readonly expose?: string[];
  readonly env?: string[];
  readonly volume?: string[];
  readonly tmpfs?: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly dns?: string[];
  readonly dnsSearch?: string[];
  readonly dnsOption?: string[];
  readonly addHost?: string[];
  readonly restart?: string;
  readonly label?: string[];
  readonly entrypoint?: string;
  readonly capAdd?: string[];
  readonly capDrop?: string[];
  readonly memory?: string;
  readonly cpus?: string;
  readonly stopSignal?: string;
  readonly stopTimeout?: string;
  readonly healthCmd?: string;
  readonly healthInterval?: string;
  readonly healthTimeout?: string;
  readonly healthRetries?: string;
  readonly healthStartPeriod?: string;
};

/** What docker's own command line exits with when the engine refuses. */
const REFUSED = 125;
const NOT_RUNNABLE = 126;
const NOT_FOUND = 127;
const NS_PER_MS = 1_000_000;
const NS_PER_SECOND = 1e9;

const REPEATED: readonly (readonly [string, string])[] = [
  ['--network <network>', 'network to join, with name=,alias=,ip= where more is to be said'],
  ['--network-alias <name>', 'one more name on the network'],
  ['--link-local-ip <address>', 'a link-local address'],
  ['--link <container:alias>', 'a name for another container'],
  ['-p, --publish <[ip:][host:]port[/protocol]>', 'publish a port on the host'],
  ['--expose <port>', 'a port of the container'],
  ['-e, --env <name=value>', 'a variable'],
  ['-v, --volume <source:target[:ro]>', 'a path of the host or a volume'],
  ['--tmpfs <target>', 'a file system in memory'],
  ['--dns <address>', 'a name server'],
  ['--dns-search <domain>', 'a search domain'],
  ['--dns-option <option>', 'a resolver option'],
  ['--add-host <name:address>', 'a line of /etc/hosts'],
  ['--label <key=value>', 'a label'],
  ['--cap-add <capability>', 'a capability more'],
  ['--cap-drop <capability>', 'a capability less'],
];
const SINGLE: readonly (readonly [string, string])[] = [
  ['--name <name>', 'name of the container'],
  ['--ip <address>', 'its IPv4 address'],
  ['--ip6 <address>', 'its IPv6 address'],
  ['--mac-address <address>', 'its hardware address'],
  ['-P, --publish-all', 'publish every exposed port'],
  ['-w, --workdir <path>', 'where it starts'],
  ['-u, --user <user[:group]>', 'who it runs as'],
  ['-h, --hostname <name>', 'its host name'],
  ['--restart <policy>', 'no, always, unless-stopped or on-failure[:count]'],
  ['--entrypoint <command>', 'what runs instead of the image’s'],
  ['-m, --memory <size>', 'at most so much memory'],
  ['--cpus <number>', 'at most so many CPUs'],
  ['--stop-signal <name>', 'signal that ends it'],
  ['--stop-timeout <seconds>', 'how long it may take to end'],
  ['--health-cmd <command>', 'a command that tells its health'],
  ['--health-interval <duration>', 'time between checks'],
  ['--health-timeout <duration>', 'time of one check'],
  ['--health-retries <count>', 'failures until it is unhealthy'],
  ['--health-start-period <duration>', 'time in which failures do not count'],
  ['-i, --interactive', 'pass input on'],
  ['--rm', 'remove it when it has ended'],
];

function refuse(message: string): SluiceError {
  return new SluiceError('E_REQUEST_INVALID', message);
}

function nanoseconds(text: string | undefined, flag: string): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === undefined) throw refuse(`invalid ${flag}: "${text}" is no duration such as 30s`);
  return ms * NS_PER_MS;
}

function bytes(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, number = '', unit = ''] = /^(\d+)([bkmg]?)b?$/i.exec(text) ?? [];
  const size = parseSize(
    `${number}${{ '': 'B', b: 'B', k: 'KiB', m: 'MiB', g: 'GiB' }[unit.toLowerCase()]}`,
  );
  if (size === undefined) throw refuse(`invalid --memory: "${text}" is no size such as 64m`);
  return size;
}

function restartPolicy(text: string | undefined) {
  const [name = 'no', count] = (text ?? 'no').split(':');
  return { Name: name, MaximumRetryCount: count === undefined ? 0 : Number(count) };
}

function healthCheck(options: RunOptions) {
  if (options.healthCmd === undefined) return undefined;
  return {
    Test: ['CMD-SHELL', options.healthCmd],
    Interval: nanoseconds(options.healthInterval, '--health-interval'),
    Timeout: nanoseconds(options.healthTimeout, '--health-timeout'),
    StartPeriod: nanoseconds(options.healthStartPeriod, '--health-start-period'),
    Retries: options.healthRetries === undefined ? undefined : Number(options.healthRetries),
  };
}

/** `NAME` or `name=NAME,alias=A,ip=I`. */
function endpoint(text: string): { name: string; settings: Record<string, unknown> } {
  if (!text.includes('=')) return { name: text, settings: {} };
  const parts = text.split(',').map((part) => part.split('=', 2));
  const all = (key: string) =>
    parts.flatMap(([name, value]) => (name === key ? (value ?? []) : []));
  const [name] = all('name');
  if (name === undefined) throw refuse(`invalid --network "${text}": name= is missing`);
  return {
    name,
    settings: {
      Aliases: all('alias'),
      IPAMConfig: { IPv4Address: all('ip')[0], IPv6Address: all('ip6')[0] },
      MacAddress: all('mac-address')[0],
      GwPriority: Number(all('gw-priority')[0] ?? 0),
    },
  };
}

function networking(options: RunOptions) {
  const [first, ...rest] = (options.network ?? ['default']).map(endpoint);
  const name = first?.name ?? 'default';
  const { Aliases = [], IPAMConfig = {}, ...more } = first?.settings ?? {};
  const own = {
    ...more,
    Aliases: [...(Aliases as string[]), ...(options.networkAlias ?? [])],
    IPAMConfig: {
      ...(IPAMConfig as object),
      ...(options.ip === undefined ? {} : { IPv4Address: options.ip }),
      ...(options.ip6 === undefined ? {} : { IPv6Address: options.ip6 }),
      LinkLocalIPs: options.linkLocalIp,
    },
    ...(options.macAddress === undefined ? {} : { MacAddress: options.macAddress }),
  };
  const others = rest.map((one) => [one.name, one.settings] as const);
  return { mode: name, endpoints: Object.fromEntries([[name, own], ...others]) };
}

function createBody(image: string, command: readonly string[], options: RunOptions) {
  const ports = parsePublished(options.publish ?? []);
  const exposed = parsePublished(options.expose ?? []).exposed;
  const { mode, endpoints } = networking(options);
  return {
    Image: image,
    Cmd: command,
    Entrypoint: options.entrypoint === undefined ? undefined : [options.entrypoint],
    Env: options.env,
    Hostname: options.hostname,
    User: options.user,
    WorkingDir: options.workdir,
    Labels: pairs(options.label),
    OpenStdin: options.interactive,
    StdinOnce: options.interactive,
    StopSignal: options.stopSignal,
    StopTimeout: options.stopTimeout === undefined ? undefined : Number(options.stopTimeout),
    Healthcheck: healthCheck(options),
    ExposedPorts: { ...ports.exposed, ...exposed },
    HostConfig: {
      NetworkMode: mode,
      PortBindings: ports.bindings,
      PublishAllPorts: options.publishAll,
      AutoRemove: options.rm,
      RestartPolicy: restartPolicy(options.restart),
      Binds: options.volume,
      Tmpfs: Object.fromEntries((options.tmpfs ?? []).map((one) => one.split(/:(.*)/, 2))),
      Dns: options.dns,
      DnsSearch: options.dnsSearch,
      DnsOptions: options.dnsOption,
      ExtraHosts: options.addHost,
      Links: options.link,
      CapAdd: options.capAdd,
      CapDrop: options.capDrop,
      Memory: bytes(options.memory),
      NanoCpus: options.cpus === undefined ? undefined : Number(options.cpus) * NS_PER_SECOND,
    },
    NetworkingConfig: { EndpointsConfig: endpoints },
  };
}

async function create(
  { io, engine }: EngineContext,
  image: string,
  command: readonly string[],
  options: RunOptions,
): Promise<string> {
  const name = options.name === undefined ? '' : `?name=${encodeURIComponent(options.name)}`;
  const body = createBody(image, command, options);
  const made = await engine().call<{ Id: string; Warnings: string[] }>(
    'POST',
    `/containers/create${name}`,
    body,
  );
  for (const warning of made.Warnings) io.warn(`WARNING: ${warning}`);
  return made.Id;
}

/** Output and input of a container that is about to start, and the end of its output. */
async function attach({ io, engine }: EngineContext, id: string, input: boolean) {
  const query = `stream=1&stdout=1&stderr=1&stdin=${input}`;
  const socket = await engine().hijack(`/containers/${id}/attach?${query}`);
  const read = frameReader((stream, data) => io.write(stream, data));
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('data', (piece: Buffer) => read(piece));
  socket.once('end', () => socket.end());
  const pass = async () => {
    for await (const piece of io.input()) socket.write(piece);
    socket.end();
  };
  if (input) pass().catch(() => socket.destroy());
  return { ended, close: () => socket.destroy() };
}

function failureCode(message: string): number {
  if (/executable file not found|no such file or directory/i.test(message)) return NOT_FOUND;
  return /permission denied|is a directory/i.test(message) ? NOT_RUNNABLE : REFUSED;
}

async function run(
  context: EngineContext,
  image: string,
  command: readonly string[],
  options: RunOptions,
): Promise<void> {
  const { io, engine } = context;
  try {
    const id = await create(context, image, command, options);
    const output = options.detach
      ? undefined
      : await attach(context, id, options.interactive === true);
    const condition = options.rm ? 'removed' : 'next-exit';
    const waiting = await engine().open('POST', `/containers/${id}/wait?condition=${condition}`);
    await engine()
      .call('POST', `/containers/${id}/start`)
      .catch((error: unknown) => {
        waiting.destroy();
        output?.close();
        throw error;
      });
    if (!output) {
      waiting.destroy();
      io.print(id);
      return;
    }
    await output.ended;
    let text = '';
    for await (const piece of waiting) text += piece;
    const { StatusCode } = JSON.parse(text) as { StatusCode: number };
    if (StatusCode !== 0) io.fail('', StatusCode);
  } catch (error) {
    if (error instanceof SluiceError && error.code === 'E_ENGINE_UNREACHABLE') throw error;
    io.fail(`sluice: ${errorText(error)}`, failureCode(errorText(error)));
  }
}

function withFlags(command: Command): Command {
  for (const [flag, meaning] of REPEATED) command.option(flag, meaning, collect);
  for (const [flag, meaning] of SINGLE) command.option(flag, meaning);
  // What stands behind the image is the container's command, flags and all.
  return command.helpOption('--help').passThroughOptions();
}

/** `run` and `create`, as docker's, without terminals. */
export function addRunCommands(program: Command, context: EngineContext): void {
  withFlags(program.command('run <image> [command...]'))
    .description('makes a container and starts it')
    .option('-d, --detach', 'print its id and return')
    .action((image: string, command: string[], options: RunOptions) =>
      run(context, image, command, options),
    );
  withFlags(program.command('create <image> [command...]'))
    .description('makes a container')
    .action(async (image: string, command: string[], options: RunOptions) => {
      context.io.print(await create(context, image, command, options));
    });
}
