import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createNaming } from '../../src/agent/plane/naming.ts';
import { Tasks } from '../../src/agent/runtime/tasks.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { execCommand } from '../../src/kernel/exec.ts';
import type { TaskExit, TaskLimits, TaskSpec } from '../../src/model/task-spec.ts';
import { until } from './netns.ts';
import { check } from './uml.ts';

// Runs as root of a machine of its own. Prints a line `ok NAME` or `not ok NAME …` for each check.

const FREE: TaskLimits = { memoryBytes: undefined, nanoCpus: undefined, pids: undefined };
const exits = new Map<string, TaskExit>();
const tools = {
  ...{ exec: execCommand, native: undefined, naming: createNaming('lim'), clock: systemClock },
  ...{ execRoot: '/run/agent', logger: silentLogger, podmanEnv: [] },
};
const tasks = new Tasks(tools, '/run/logs', {
  taskExited: (id, exit) => exits.set(id, exit),
  execExited: () => {},
});

/** The machine is emulated. */
const PATIENCE_MS = 120_000;

let count = 0;

/** Starts a shell's script within limits; its id. */
async function start(script: string, limits: Partial<TaskLimits>): Promise<string> {
  const id = (++count).toString(16).padStart(64, '0');
  const spec: TaskSpec = {
    ...{ id, runtime: 'process', image: 'host', argv: ['/bin/sh', '-c', script], env: [], cwd: '' },
    ...{ user: '', groups: [], hostname: 'box', tty: false, openStdin: true, sandbox: 'host' },
    ...{ hosts: '', resolvConf: '', mounts: [], capabilities: [], noNewPrivileges: true },
    ...{ pidHost: false, privileged: false, limits: { ...FREE, ...limits } },
  };
  await tasks.create(spec);
  await tasks.start(id);
  return id;
}

const group = (id: string) => `/sys/fs/cgroup/lim/${id}`;
const read = (id: string, file: string) => readFileSync(`${group(id)}/${file}`, 'utf8').trim();
const field = (id: string, file: string, name: string) =>
  Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(read(id, file))?.[1]);

async function end(id: string): Promise<TaskExit> {
  await until(() => exits.has(id), PATIENCE_MS);
  return exits.get(id) ?? { code: -1, oomKilled: false, at: 0 };
}

async function stop(id: string): Promise<void> {
  tasks.signal(id, 'KILL');
  await end(id);
  await tasks.remove(id);
}

/** Memory that cannot be given back: files in memory. */
const HOG = 'exec head -c 40000000 /dev/zero > /dev/shm/x';

async function memory(): Promise<void> {
  const small = await start(HOG, { memoryBytes: 16_000_000 });
  const { code, oomKilled } = await end(small);
  check('too much memory ends a task', code === 137, String(code));
  check('and its end says why', oomKilled);
  const large = await start('exit 3', { memoryBytes: 16_000_000 });
  const exit = await end(large);
  check('little memory does not', exit.code === 3 && !exit.oomKilled, JSON.stringify(exit));
}

async function processes(): Promise<void> {
  // A shell that cannot make a process ends; the one around it waits for input.
  const many = "sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait'; read x";
  const id = await start(many, { pids: 6 });
  await until(() => field(id, 'pids.events', 'max') > 0, PATIENCE_MS);
  check('no more processes than the limit', Number(read(id, 'pids.current')) <= 6);
  await stop(id);
}

async function processors(): Promise<void> {
  const id = await start('while :; do :; done', { nanoCpus: 200_000_000 });
  check('a share of a processor', read(id, 'cpu.max') === '20000 100000', read(id, 'cpu.max'));
  await until(() => field(id, 'cpu.stat', 'nr_throttled') > 2, PATIENCE_MS);
  check('is not exceeded', field(id, 'cpu.stat', 'throttled_usec') > 0);
  tasks.setLimits(id, { ...FREE, memoryBytes: 64_000_000 });
  check('other limits while it runs', read(id, 'cpu.max').startsWith('max '), read(id, 'cpu.max'));
  // The kernel rounds to whole pages.
  check('all of them', Math.abs(Number(read(id, 'memory.max')) - 64_000_000) < 65_536);
  const { cpuNs, memoryBytes, pids } = tasks.stats(id);
  check(
    'what it uses',
    cpuNs > 0 && memoryBytes > 0 && pids >= 1,
    `${cpuNs} ${memoryBytes} ${pids}`,
  );
  await tasks.pause(id, true);
  check('it stands still', field(id, 'cgroup.events', 'frozen') === 1);
  await tasks.pause(id, false);
  await until(() => field(id, 'cgroup.events', 'frozen') === 0, PATIENCE_MS);
  check(
    'and goes on',
    tasks.list().some((task) => task.id === id && task.status === 'running'),
  );
  await stop(id);
  await until(() => !existsSync(group(id)), PATIENCE_MS);
  check('nothing is left of it', true);
}

// Hosts have it; tasks get a file system of their own there.
mkdirSync('/dev/shm', { recursive: true });
check('control groups of version 2', existsSync('/sys/fs/cgroup/lim/cgroup.procs'));
await memory();
await processes();
await processors();
console.log('done');
process.exit(0);
