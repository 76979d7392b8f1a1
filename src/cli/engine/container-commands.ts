import type { Command } from 'commander';
import { SluiceError } from '../../base/errors.ts';
import { frameReader } from '../../client/engine-client.ts';
import { table } from '../table.ts';
import { collect, type EngineContext, filterQuery, forEach, short } from './engine-context.ts';

type PortRow = { IP?: string; PrivatePort: number; PublicPort?: number; Type: string };
type ContainerRow = {
  Id: string;
  Names: string[];
  Image: string;
  Command: string;
  Status: string;
  Ports: PortRow[];
};
type Detail = {
  Id: string;
  Config: { Tty: boolean };
  NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[] | null> };
};

const COMMAND_WIDTH = 24;

function hostPart(address: string, port: number | string): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function portText({ IP, PrivatePort, PublicPort, Type }: PortRow): string {
  const inner = `${PrivatePort}/${Type}`;
  return PublicPort === undefined ? inner : `${hostPart(IP ?? '', PublicPort)}->${inner}`;
}

function path(name: string, rest = ''): string {
  return `/containers/${encodeURIComponent(name)}${rest}`;
}

function addLists(program: Command, { io, engine }: EngineContext): void {
  program
    .command('ps')
    .description('containers')
    .option('-a, --all', 'those that do not run as well')
    .option('-f, --filter <key=value>', 'only those that fit', collect)
    .option('-n, --last <count>', 'the latest, whatever they do')
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'nothing shortened')
    .action(
      async (options: {
        all?: boolean;
        filter?: string[];
        last?: string;
        quiet?: boolean;
        trunc: boolean;
      }) => {
        const query = `all=${options.all ?? false}&limit=${options.last ?? 0}&filters=${filterQuery(options.filter)}`;
        const found = await engine().call<ContainerRow[]>('GET', `/containers/json?${query}`);
        const cut = (text: string) =>
          options.trunc && text.length > COMMAND_WIDTH
            ? `${text.slice(0, COMMAND_WIDTH - 1)}…`
            : text;
        const rows = found.map(({ Id, Image, Command, Status, Ports, Names }) => [
          options.trunc ? short(Id) : Id,
          Image,
          cut(Command),
          Status,
          Ports.map(portText).join(', '),
          Names.map((name) => name.slice(1)).join(', '),
        ]);
        if (options.quiet) for (const [id = ''] of rows) io.print(id);
        else
          io.print(table(['CONTAINER ID', 'IMAGE', 'COMMAND', 'STATUS', 'PORTS', 'NAMES'], rows));
      },
    );
  program
    .command('port <container> [port]')
    .description('published ports of a container')
    .action(async (name: string, port?: string) => {
      const { NetworkSettings } = await engine().call<Detail>('GET', path(name, '/json'));
      const wanted = port === undefined || port.includes('/') ? port : `${port}/tcp`;
      const shown = Object.entries(NetworkSettings.Ports)
        .filter(([key]) => wanted === undefined || key === wanted)
        .flatMap(([key, bindings]) =>
          (bindings ?? []).map(({ HostIp, HostPort }) => {
            const host = hostPart(HostIp, HostPort);
            return wanted === undefined ? `${key} -> ${host}` : host;
          }),
        );
      if (wanted !== undefined && shown.length === 0) {
        const message = `No public port '${wanted}' published for ${name}`;
        throw new SluiceError('E_ENGINE_REFUSED', message);
      }
      for (const line of shown.sort()) io.print(line);
    });
}

function addInspect(program: Command, { io, engine }: EngineContext): void {
  program
    .command('inspect <object...>')
    .description('everything about containers, images and networks, as JSON')
    .action(async (names: string[]) => {
      const found: unknown[] = [];
      for (const name of names) {
        const key = encodeURIComponent(name);
        const places = [`/containers/${key}/json`, `/images/${key}/json`, `/networks/${key}`];
        const tries = await Promise.allSettled(places.map((one) => engine().call('GET', one)));
        const hit = tries.find((one) => one.status === 'fulfilled');
        if (!hit) throw new SluiceError('E_ENGINE_REFUSED', `no such object: ${name}`);
        found.push(hit.value);
      }
      io.print(JSON.stringify(found, null, 4));
    });
}

function addLogs(program: Command, { io, engine }: EngineContext): void {
  program
    .command('logs <container>')
    .description('output of a container')
    .option('-f, --follow', 'go on with what comes')
    .option('-n, --tail <lines>', 'lines from the end', 'all')
    .option('-t, --timestamps', 'with times')
    .option('--since <time>', 'from this time on: seconds since 1970 or RFC 3339')
    .option('--until <time>', 'up to this time')
    .action(async (name: string, options: Record<string, string | boolean | undefined>) => {
      const { Config } = await engine().call<Detail>('GET', path(name, '/json'));
      const query = new URLSearchParams({ stdout: '1', stderr: '1' });
      for (const [key, value] of Object.entries(options)) {
        if (value !== undefined) query.set(key, String(value));
      }
      const answer = await engine().open('GET', path(name, `/logs?${query}`));
      const read = Config.Tty
        ? (piece: Buffer) => io.write('stdout', piece)
        : frameReader((stream, data) => io.write(stream, data));
      for await (const piece of answer) read(Buffer.from(piece));
    });
}

const ORDERS: readonly (readonly [string, string])[] = [
  ['start', 'starts containers'],
  ['pause', 'holds containers'],
  ['unpause', 'lets held containers go on'],
];

function addOrders(program: Command, context: EngineContext): void {
  const { engine } = context;
  for (const [verb, meaning] of ORDERS) {
    program
      .command(`${verb} <container...>`)
      .description(meaning)
      .action((names: string[]) =>
        forEach(context, names, (name) => engine().call('POST', path(name, `/${verb}`))),
      );
  }
  for (const verb of ['stop', 'restart'] as const) {
    program
      .command(`${verb} <container...>`)
      .description(`${verb}s containers`)
      .option('-t, --timeout <seconds>', 'how long to wait before force')
      .option('-s, --signal <name>', 'signal to ask with')
      .action((names: string[], { timeout, signal }: { timeout?: string; signal?: string }) => {
        const query = new URLSearchParams({
          ...(timeout && { t: timeout }),
          ...(signal && { signal }),
        });
        return forEach(context, names, (name) =>
          engine().call('POST', path(name, `/${verb}?${query}`)),
        );
      });
  }
  program
    .command('kill <container...>')
    .description('signals containers')
    .option('-s, --signal <name>', 'signal', 'KILL')
    .action((names: string[], { signal }: { signal: string }) =>
      forEach(context, names, (name) =>
        engine().call('POST', path(name, `/kill?signal=${encodeURIComponent(signal)}`)),
      ),
    );
  program
    .command('rm <container...>')
    .description('removes containers')
    .option('-f, --force', 'those that run as well')
    .action((names: string[], { force }: { force?: boolean }) =>
      forEach(context, names, (name) =>
        engine().call('DELETE', path(name, `?force=${force ?? false}`)),
      ),
    );
  program
    .command('rename <container> <name>')
    .description('gives a container another name')
    .action(async (container: string, name: string) => {
      await engine().call('POST', path(container, `/rename?name=${encodeURIComponent(name)}`));
    });
  program
    .command('wait <container...>')
    .description('waits for the end of containers; prints their exit codes')
    .action(async (names: string[]) => {
      for (const name of names) {
        const { StatusCode } = await engine().call<{ StatusCode: number }>(
          'POST',
          path(name, '/wait'),
        );
        context.io.print(String(StatusCode));
      }
    });
}

/** `ps`, `port`, `inspect`, `logs`, `start`, `stop`, `rm` and their like, as docker's. */
export function addContainerCommands(program: Command, context: EngineContext): void {
  addLists(program, context);
  addInspect(program, context);
  addLogs(program, context);
  addOrders(program, context);
}
