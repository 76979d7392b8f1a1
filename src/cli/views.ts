import type { Command } from 'commander';
import { SluiceError } from '../base/errors.ts';
import type { EventInfo } from '../client/admin-types.ts';
import type { SessionInfo } from '../model/session-info.ts';
import type { Context } from './context.ts';
import { endpointTable, stateOf } from './endpoint-rows.ts';
import { table } from './table.ts';

/** `status`, `listeners`, `services`, `endpoints` and `sessions`. */
export function addViews(program: Command, context: Context): void {
  const { client, io, show } = context;
  program
    .command('status')
    .description('the daemon and its workers; exit status 1 while it is not ready')
    .action(async () => {
      const status = await client().status();
      const workers = status.workers.map(
        ({ slot, pid, ready }) => `worker ${slot}: pid ${pid}${ready ? '' : ', starting'}`,
      );
      const { agentConnected } = status;
      const agent =
        agentConnected === undefined
          ? []
          : [`node agent: ${agentConnected ? 'connected' : 'does not answer'}`];
      const head = `sluiced ${status.version}, ${status.ready ? 'ready' : 'not ready'}, since ${status.startedAt}, configuration ${status.generation}`;
      show(status, [head, ...workers, ...agent].join('\n'));
      if (!status.ready) io.fail('the daemon is not ready');
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
        one.plane,
        one.protocol === 'tcp' || one.protocol === 'udp' ? one.planeReason : '',
      ]);
      const heading = ['LISTENER', 'PROTOCOL', 'BIND', 'SERVICE', 'ROUTES', 'PLANE', 'WHY'];
      show(listeners, table(heading, rows));
    });
  program
    .command('services')
    .description('services and how many of their endpoints are up')
    .action(async () => {
      const services = await client().services();
      const rows = services.map(({ name, endpoints, staleSeconds }) => {
        const up = endpoints.filter((endpoint) => stateOf(endpoint) === 'up').length;
        const active = endpoints.reduce((sum, endpoint) => sum + endpoint.active, 0);
        const stale = staleSeconds > 0 ? `${Math.round(staleSeconds)}s` : '';
        return [name, `${up}/${endpoints.length}`, String(active), stale];
      });
      show(services, table(['SERVICE', 'UP', 'ACTIVE', 'STALE'], rows));
    });
  program
    .command('endpoints [service]')
    .description('endpoints, their state and load')
    .action(async (service?: string) => {
      const services = await client().services();
      const wanted = services.filter(({ name }) => service === undefined || name === service);
      if (service !== undefined && wanted.length === 0) {
        const names = services.map(({ name }) => name).join(', ');
        const message = `there is no service "${service}"; there are: ${names}`;
        throw new SluiceError('E_ADMIN_REFUSED', message);
      }
      show(wanted, endpointTable(wanted));
    });
  addSessions(program, context);
}

function addSessions(program: Command, { client, show }: Context): void {
  program
    .command('sessions [service]')
    .description('requests and sessions under way, the oldest first')
    .option('--end <session>', 'end the connection that carries it instead')
    .action(async (service: string | undefined, { end }: { end?: string }) => {
      const asked = client();
      const sessions = end ? [await asked.endSession(end)] : await asked.sessions(service);
      const heading = ['SESSION', 'CLIENT', 'LISTENER', 'SERVICE', 'ENDPOINT', 'AGE'];
      show(sessions, table(heading, sessions.map(sessionRow)));
    });
}

function sessionRow({ id, client, listener, service, endpoint, ageMs }: SessionInfo): string[] {
  const from = `${client.address}:${client.port}`;
  return [id, from, listener, service ?? '', endpoint ?? '', `${(ageMs / 1000).toFixed(1)}s`];
}

function eventRow({ at, service, endpoint, to, reason }: EventInfo): string[] {
  return [new Date(at).toISOString(), service, endpoint, to, reason];
}

/** `config`, `events` and `explain`. */
export function addReports(program: Command, { client, show, json, io }: Context): void {
  program
    .command('config')
    .description('the running configuration as JSON, without secrets')
    .action(async () => {
      io.print(JSON.stringify(await client().config(), null, 2));
    });
  program
    .command('events')
    .description('the latest changes of health')
    .option('-f, --follow', 'go on with those that come; JSON lines with --json')
    .action(async ({ follow }: { follow?: boolean }) => {
      if (follow) {
        for await (const event of client().follow()) {
          io.print(json() ? JSON.stringify(event) : eventRow(event).join('  '));
        }
        throw new SluiceError('E_ADMIN_UNREACHABLE', 'the daemon has ended the stream');
      }
      const events = await client().events();
      const heading = ['TIME', 'SERVICE', 'ENDPOINT', 'TO', 'REASON'];
      show(events, table(heading, events.map(eventRow)));
    });
  program
    .command('explain <address>')
    .description(
      'which listener, route, service and endpoint a request to HOST:PORT would take, and why',
    )
    .option('--host <host>', 'Host header')
    .option('--path <path>', 'path with query')
    .option('--method <method>', 'default: GET')
    .option('--sni <name>', 'server name of the TLS handshake')
    .option('--source <ip>', 'address of the client')
    .action(async (listen: string, options: Record<string, string>) => {
      const steps = await client().explain({ listen, ...options });
      show(steps, steps.map((step, index) => `${index + 1}. ${step}`).join('\n'));
    });
}
