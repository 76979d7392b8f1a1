import { invalid } from '../../base/faults.ts';
import type { Engine } from '../../control/engine.ts';
import type { LogEntry } from '../../control/streams.ts';
import type { Fields } from './fields.ts';
import { type Call, created, ok, type Route } from './http.ts';
import { beginStream, frame, pump } from './streams.ts';

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
const MAX_UNREAD = 16 * 1024 * 1024;

const key = ({ parameters }: Call) => parameters['id'] ?? '';

/** RFC 3339 with all nanoseconds. */
function formatNs(ns: bigint): string {
  const second = new Date(Number(ns / NS_PER_MS)).toISOString().slice(0, 19);
  return `${second}.${String(ns % NS_PER_SECOND).padStart(9, '0')}Z`;
}

function logPiece({ stream, timeNs, line }: LogEntry, tty: boolean, timestamps: boolean): Buffer {
  const data = timestamps ? Buffer.concat([Buffer.from(`${formatNs(timeNs)} `), line]) : line;
  return tty ? data : frame(stream, data);
}

function tailOf(text: string): number | undefined {
  if (text === '' || text === 'all') return undefined;
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

function logs(engine: Engine, call: Call): undefined {
  const { query, response } = call;
  const container = engine.registry.container(key(call));
  const wanted = { stdout: query.flag('stdout'), stderr: query.flag('stderr') };
  if (!wanted.stdout && !wanted.stderr) {
    throw invalid('Bad parameters: you must choose at least one stream');
  }
  const { tty } = container.spec;
  const timestamps = query.flag('timestamps');
  const logQuery = {
    follow: query.flag('follow'),
    tail: tailOf(query.text('tail')),
    sinceNs: query.time('since'),
    untilNs: query.time('until'),
  };
  response.writeHead(200, {
    'content-type': `application/vnd.docker.${tty ? 'raw' : 'multiplexed'}-stream`,
  });
  response.flushHeaders();
  const stop = engine.containers.logs(
    container.id,
    logQuery,
    (entry) => {
      if (!wanted[entry.stream]) return;
      response.write(logPiece(entry, tty, timestamps));
      if (response.writableLength > MAX_UNREAD) response.destroy();
    },
    () => response.end(),
  );
  response.on('close', stop);
  return undefined;
}

async function attach(engine: Engine, call: Call): Promise<undefined> {
  const { query } = call;
  const container = engine.registry.container(key(call));
  const { tty, openStdin } = container.spec;
  const stream = query.flag('stream');
  const wanted = {
    stdin: stream && openStdin && query.flag('stdin'),
    stdout: query.flag('stdout'),
    stderr: query.flag('stderr'),
    tty,
  };
  const streams = stream ? await engine.containers.lifecycle.attach(container.id) : undefined;
  const ends = beginStream(call, tty);
  const replay = () =>
    new Promise<void>((resolve) => {
      const whole = { follow: false, tail: undefined, sinceNs: undefined, untilNs: undefined };
      engine.containers.logs(
        container.id,
        whole,
        (entry) => wanted[entry.stream] && ends.output.write(logPiece(entry, tty, false)),
        resolve,
      );
    });
  if (query.flag('logs')) await replay();
  if (streams) pump(streams, ends, wanted);
  else ends.output.end();
  return undefined;
}

function execOrder(body: Fields) {
  return {
    argv: body.texts('Cmd'),
    env: body.texts('Env'),
    cwd: body.text('WorkingDir'),
    user: body.text('User'),
    tty: body.flag('Tty'),
    stdin: body.flag('AttachStdin'),
  };
}

async function startExec({ containers }: Engine, call: Call) {
  const body = await call.body();
  const { spec } = containers.execs.get(key(call));
  const tty = body.flag('Tty') || spec.tty;
  const streams = await containers.execs.start(spec.id, tty);
  if (body.flag('Detach')) {
    streams.close();
    return ok(undefined);
  }
  const ends = beginStream(call, tty);
  pump(streams, ends, { stdin: spec.stdin, stdout: true, stderr: true, tty });
  return undefined;
}

/** Streams of containers and of further commands in them. */
export function streamRoutes(engine: Engine): Route[] {
  const { containers, agent } = engine;
  return [
    { method: 'GET', path: '/containers/:id/logs', run: (call) => logs(engine, call) },
    { method: 'POST', path: '/containers/:id/attach', run: (call) => attach(engine, call) },
    {
      method: 'POST',
      path: '/containers/:id/exec',
      run: async (call) => {
        const { spec } = containers.execs.create(key(call), execOrder(await call.body()));
        return created({ Id: spec.id });
      },
    },
    { method: 'POST', path: '/exec/:id/start', run: (call) => startExec(engine, call) },
    {
      method: 'POST',
      path: '/exec/:id/resize',
      run: async (call) => {
        const { query } = call;
        const { spec } = containers.execs.get(key(call));
        await agent.resize(spec.id, query.number('w') ?? 0, query.number('h') ?? 0);
        return ok(undefined);
      },
    },
    {
      method: 'GET',
      path: '/exec/:id/json',
      run: (call) => {
        const { spec, running, exitCode } = containers.execs.get(key(call));
        const [entrypoint = '', ...args] = spec.argv;
        return ok({
          ID: spec.id,
          Running: running,
          ExitCode: exitCode ?? null,
          ProcessConfig: { tty: spec.tty, entrypoint, arguments: args, privileged: false },
          OpenStdin: spec.stdin,
          OpenStderr: true,
          OpenStdout: true,
          CanRemove: false,
          ContainerID: spec.task,
          DetachKeys: '',
          Pid: 0,
        });
      },
    },
  ];
}
