import type { Engine } from '../../control/engine.ts';
import type { Fields } from './fields.ts';
import { type Call, created, ok, type Route } from './http.ts';
import { beginLogs, logRequest } from './logs.ts';
import { beginStream, frame, pump } from './streams.ts';

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function logs(engine: Engine, call: Call): undefined {
  const container = engine.registry.container(key(call));
  const request = logRequest(call);
  const { write, end, onClose } = beginLogs(call, request, container.spec.tty);
  const stop = engine.containers.logs(container.id, request.query, (entry) => write(entry), end);
  onClose(stop);
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
        (entry) =>
          wanted[entry.stream] &&
          ends.output.write(tty ? entry.line : frame(entry.stream, entry.line)),
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
