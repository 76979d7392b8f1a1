import { Command } from 'commander';
import { errorText } from '../base/errors.ts';
import { AdminClient } from '../client/admin-client.ts';
import type { EndpointInfo, EndpointOrder } from '../client/admin-types.ts';
import { type ConfigIo, formatDiagnostics, loadConfig } from '../config/load.ts';
import { planChange } from '../config/plan.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { table } from './table.ts';

/** Where the command line speaks and reads. */
export type CliIo = {
  readonly config: ConfigIo;
  readonly admin: string | undefined;
  readonly token: string | undefined;
  readonly version: string;
  readonly print: (text: string) => void;
  readonly fail: (text: string) => void;
};

const DEFAULT_ADMIN = 'http://127.0.0.1:9900';
const TOP_EVERY_MS = 1000;

type Common = { admin: string; json?: boolean };

function stateOf(endpoint: EndpointInfo): string {
  if (endpoint.admin !== 'ready') return endpoint.admin;
  if (endpoint.ejected) return 'ejected';
  return endpoint.check;
}

function endpointRows(service: string, endpoints: readonly EndpointInfo[]): string[][] {
  return endpoints.map((endpoint) => [
    service,
    endpoint.id,
    stateOf(endpoint),
    String(endpoint.weight),
    String(endpoint.active),
    endpoint.reason,
  ]);
}

const ENDPOINT_HEADING = ['SERVICE', 'ENDPOINT', 'STATE', 'WEIGHT', 'ACTIVE', 'REASON'];

async function endpointTable(client: AdminClient, service: string | undefined): Promise<string> {
  const services = await client.services();
  const wanted = services.filter(({ name }) => service === undefined || name === service);
  return table(
    ENDPOINT_HEADING,
    wanted.flatMap(({ name, endpoints }) => endpointRows(name, endpoints)),
  );
}

/** The `sluice` command with all its verbs. */
export function createProgram(io: CliIo): Command {
  const program = new Command('sluice')
    .description('Asks and orders the Sluice daemon')
    .version(io.version)
    .option('--admin <url>', 'admin API of the daemon (or SLUICE_ADMIN)', io.admin ?? DEFAULT_ADMIN)
    .option('--json', 'print JSON');
  const client = () => new AdminClient(program.opts<Common>().admin, io.token);
  const show = (value: unknown, text: string) =>
    io.print(program.opts<Common>().json ? JSON.stringify(value, null, 2) : text);
  addConfigCommands(program, io, client);
  addViews(program, client, show, io);
  addReports(program, client, show, io);
  addOrders(program, client, io);
  return program;
}

const CONFIG_HELP = 'file or directory, YAML or JSON; several add up';

function load(paths: readonly string[], io: CliIo): GatewayConfig | undefined {
  const result = loadConfig(paths, io.config);
  if (result.ok) return result.config;
  io.fail(formatDiagnostics(result.diagnostics));
  return undefined;
}

function addConfigCommands(program: Command, io: CliIo, client: () => AdminClient): void {
  program
    .command('check')
    .description('check a configuration; exit 1 when it has errors')
    .requiredOption('-c, --config <path...>', CONFIG_HELP)
    .action(({ config }: { config: string[] }) => {
      if (load(config, io)) io.print(`${config.join(', ')}: ok`);
    });
  program
    .command('plan')
    .description('show what a configuration would change in the running daemon')
    .requiredOption('-c, --config <path...>', CONFIG_HELP)
    .action(async ({ config }: { config: string[] }) => {
      const next = load(config, io);
      if (!next) return;
      const lines = planChange((await client().config()) as GatewayConfig, next);
      io.print(lines.length > 0 ? lines.join('\n') : 'nothing would change');
    });
}

type Show = (value: unknown, text: string) => void;

function addViews(program: Command, client: () => AdminClient, show: Show, io: CliIo): void {
  program
    .command('status')
    .description('the daemon and its workers')
    .action(async () => {
      const status = await client().status();
      const workers = status.workers.map(
        ({ slot, pid, ready }) => `worker ${slot}: pid ${pid}${ready ? '' : ', starting'}`,
      );
      const head = `sluiced ${status.version}, ${status.ready ? 'ready' : 'not ready'}, since ${status.startedAt}, configuration ${status.generation}`;
      show(status, [head, ...workers].join('\n'));
    });
  program
    .command('listeners')
    .description('what listens where')
    .action(async () => {
      const listeners = await client().listeners();
      const rows = listeners.map((one) => [
        one.name,
        one.protocol,
        one.bind.join(', '),
        one.service ?? '',
        String(one.routes),
      ]);
      show(listeners, table(['LISTENER', 'PROTOCOL', 'BIND', 'SERVICE', 'ROUTES'], rows));
    });
  program
    .command('services')
    .description('services and how many of their endpoints are up')
    .action(async () => {
      const services = await client().services();
      const rows = services.map(({ name, endpoints, staleSeconds }) => {
        const up = endpoints.filter((endpoint) => stateOf(endpoint) === 'up').length;
        return [
          name,
          `${up}/${endpoints.length}`,
          staleSeconds > 0 ? `${Math.round(staleSeconds)}s` : '',
        ];
      });
      show(services, table(['SERVICE', 'UP', 'STALE'], rows));
    });
  program
    .command('endpoints [service]')
    .description('endpoints, their state and load')
    .action(async (service?: string) => {
      if (program.opts<Common>().json) show(await client().services(), '');
      else io.print(await endpointTable(client(), service));
    });
}

function addReports(program: Command, client: () => AdminClient, show: Show, io: CliIo): void {
  program
    .command('config')
    .description('the running configuration, without secrets')
    .action(async () => {
      io.print(JSON.stringify(await client().config(), null, 2));
    });
  program
    .command('events')
    .description('the latest changes of health')
    .action(async () => {
      const events = await client().events();
      const rows = events.map((one) => [
        new Date(one.at).toISOString(),
        one.service,
        one.endpoint,
        one.to,
        one.reason,
      ]);
      show(events, table(['TIME', 'SERVICE', 'ENDPOINT', 'TO', 'REASON'], rows));
    });
  program
    .command('top')
    .description('endpoints, again every second; once when not on a terminal')
    .action(async () => {
      do {
        const text = await endpointTable(client(), undefined);
        io.print(process.stdout.isTTY ? `\u001b[2J\u001b[H${text}` : text);
        if (process.stdout.isTTY) await new Promise((resolve) => setTimeout(resolve, TOP_EVERY_MS));
      } while (process.stdout.isTTY);
    });
  program
    .command('explain <address>')
    .description(
      'which listener, route, service and endpoint a request to HOST:PORT would take, and why',
    )
    .option('--host <host>')
    .option('--path <path>')
    .option('--method <method>')
    .option('--sni <name>')
    .option('--source <ip>')
    .action(async (listen: string, options: Record<string, string>) => {
      const steps = await client().explain({ listen, ...options });
      show(steps, steps.map((step, index) => `${index + 1}. ${step}`).join('\n'));
    });
}

function addOrders(program: Command, client: () => AdminClient, io: CliIo): void {
  const order = async (service: string, endpoint: string, what: EndpointOrder) => {
    await client().order(service, endpoint, what);
    const found = (await client().endpoints(service)).find(({ id }) => id === endpoint);
    io.print(
      `${service} ${endpoint}: ${found ? stateOf(found) : ''}, weight ${found?.weight}, ${found?.active ?? 0} active`,
    );
  };
  for (const state of ['ready', 'drain', 'maint'] as const) {
    program
      .command(`${state} <service> <endpoint>`)
      .description(
        {
          ready: 'lets an endpoint take work',
          drain: 'lets it finish its work and take no new',
          maint: 'takes it out, checks included',
        }[state],
      )
      .option('--wait <seconds>', 'wait until no work is left, at most so long', '0')
      .action(async (service: string, endpoint: string, { wait }: { wait: string }) => {
        await order(service, endpoint, { state });
        await untilIdle(client(), service, endpoint, Number(wait) * 1000, io);
      });
  }
  program
    .command('weight <service> <endpoint> <weight>')
    .description('sets an endpoint’s weight, 0 to 256')
    .action((service: string, endpoint: string, weight: string) =>
      order(service, endpoint, { weight: Number(weight) }),
    );
  program
    .command('reload')
    .description('reads the configuration again')
    .action(async () => {
      await client().reload();
      io.print('reloaded');
    });
  program
    .command('upgrade')
    .description('lets a new daemon, from the installed files, take over without a lost connection')
    .action(async () => {
      const { pid } = await client().upgrade();
      io.print(`process ${pid} serves; the one before it finishes its work`);
    });
}

async function untilIdle(
  client: AdminClient,
  service: string,
  endpoint: string,
  timeoutMs: number,
  io: CliIo,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    const active = (await client.endpoints(service)).find(({ id }) => id === endpoint)?.active ?? 0;
    if (active === 0) {
      io.print('no work is left');
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  if (timeoutMs > 0) io.fail('work is still under way');
}

/** Runs the command line; errors are told in words and set the exit status. */
export async function runCli(io: CliIo, argv: readonly string[]): Promise<void> {
  try {
    await createProgram(io).parseAsync([...argv]);
  } catch (error) {
    io.fail(`sluice: ${errorText(error)}`);
  }
}
