import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createNaming } from '../../src/agent/plane/naming.ts';
import { Tasks } from '../../src/agent/runtime/tasks.ts';
import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { Cgroup, findCgroups, removeGroups, usableCgroups } from '../../src/kernel/cgroup.ts';
import { execCommand } from '../../src/kernel/exec.ts';
import { loadNative } from '../../src/kernel/native.ts';
import type { LogEntry, TaskStreams } from '../../src/link/agent-port.ts';
import type { ExecSpec, TaskSpec } from '../../src/model/task-spec.ts';
import {
  attachment,
  bridgeNetwork,
  netnsUnavailable,
  run,
  sandbox,
  TestHost,
  until,
} from '../support/netns.ts';
import { isAlive } from '../support/processes.ts';

const a = bridgeNetwork('a', ['172.20.0.0/24']);
const box = sandbox('box', [attachment('box', a, ['172.20.0.11/24'])]);
const skip = netnsUnavailable();
const noCgroups = !usableCgroups(findCgroups(), 'sluice') && 'no control groups can be made here';
const noTerminals = !(await loadNative()) && 'terminals need the optional package koffi';

let lastId = 0;

function task(argv: readonly string[], changes: Partial<TaskSpec> = {}): TaskSpec {
  lastId += 1;
  return {
    id: lastId.toString(16).padStart(64, '0'),
    runtime: 'process',
    image: 'host',
    argv,
    env: [],
    cwd: '',
    user: '',
    groups: [],
    hostname: 'thebox',
    tty: false,
    openStdin: false,
    sandbox: box.id,
    hosts: '127.0.0.1 localhost\n172.20.0.11 thebox\n',
    resolvConf: 'nameserver 127.0.0.11\n',
    mounts: [],
    capabilities: ['CAP_CHOWN', 'CAP_NET_RAW', 'CAP_SETUID', 'CAP_SETGID', 'CAP_KILL'],
    noNewPrivileges: false,
    pidHost: false,
    privileged: false,
    limits: { memoryBytes: undefined, nanoCpus: undefined, pids: undefined },
    ...changes,
  };
}

function exec(of: TaskSpec, argv: readonly string[], changes: Partial<ExecSpec> = {}): ExecSpec {
  lastId += 1;
  return {
    id: `exec${lastId}`,
    task: of.id,
    argv,
    env: [],
    cwd: '',
    user: '',
    tty: false,
    stdin: false,
    ...changes,
  };
}

type Outcome = { stdout: string; stderr: string };

function gather(streams: TaskStreams): Promise<Outcome> {
  const outcome = { stdout: '', stderr: '' };
  streams.onOutput = (stream, data) => {
    outcome[stream] += data.toString();
  };
  return new Promise((resolve) => {
    streams.onEnd = () => resolve(outcome);
  });
}

describe('tasks on the file system of the host', { skip }, () => {
  let host: TestHost;

  before(async () => {
    host = await TestHost.start();
    const intent = { networks: [a], sandboxes: [box], forwards: [], names: [] };
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
  });
  after(() => host?.stop());

  const exitOf = async (id: string) => {
    await until(async () => (await host.agent.tasks()).some((one) => one.id === id && one.exit));
    return (await host.agent.tasks()).find((one) => one.id === id)?.exit?.code;
  };

  async function runTask(spec: TaskSpec, input?: string): Promise<Outcome & { code: number }> {
    await host.agent.createTask(spec);
    const streams = await host.agent.attachTask(spec.id);
    const gathered = gather(streams);
    if (input !== undefined) {
      streams.write(Buffer.from(input));
      streams.endInput();
    }
    await host.agent.startTask(spec.id);
    const outcome = await gathered;
    const code = (await exitOf(spec.id)) ?? -1;
    await host.agent.removeTask(spec.id);
    return { ...outcome, code };
  }

  test('sees its own network, processes, host name and files', async () => {
    const script =
      'hostname; echo $$; cat /etc/resolv.conf /etc/hosts /etc/hostname; ip -o -4 addr show eth0;' +
      'ls /sys/class/net; ls /proc | grep -c "^[0-9]"; echo wrong >&2; exit 3';
    const { stdout, stderr, code } = await runTask(task(['sh', '-c', script]));
    assert.match(stdout, /^thebox\n1\nnameserver 127\.0\.0\.11\n127\.0\.0\.1 localhost\n/);
    assert.match(stdout, /172\.20\.0\.11\/24/);
    assert.match(stdout, /\neth0\nlo\n/);
    assert.equal(stderr, 'wrong\n');
    assert.equal(code, 3);
    assert.doesNotMatch(run('cat', '/etc/hosts'), /thebox/);
  });

  test('has the rights that it was given and no others', async () => {
    const { stdout } = await runTask(task(['grep', 'CapEff', '/proc/self/status']));
    assert.match(stdout, /CapEff:\t00000000000020e1/);
    const denied = await runTask(task(['ip', 'link', 'set', 'eth0', 'down']));
    assert.notEqual(denied.code, 0);
    const nobody = await runTask(task(['id'], { user: 'nobody', noNewPrivileges: true }));
    assert.match(nobody.stdout, /uid=65534\(nobody\)/);
    const sysctl = await runTask(task(['sh', '-c', 'echo x > /proc/sys/kernel/core_pattern']));
    assert.match(sysctl.stderr, /Read-only file system/);
  });

  test('has the environment, folder and mounts of its description', async () => {
    const spec = task(['sh', '-c', 'pwd; echo $A; echo $HOME; ls /mnt; cat /opt/*; df /mnt'], {
      env: ['A=a b=c "d"'],
      cwd: '/usr',
      mounts: [
        { kind: 'tmpfs', source: '', target: '/mnt', readOnly: false, options: ['size=1m'] },
        { kind: 'bind', source: host.root, target: '/opt', readOnly: true, options: [] },
      ],
    });
    const { stdout } = await runTask(spec);
    assert.match(stdout, /^\/usr\na b=c "d"\n\/root\n/);
    assert.match(stdout, /sluice +1024 /);
  });

  test('sees what it is given of the shared memory of the host, which is not its own', async () => {
    const folder = mkdtempSync('/dev/shm/sluice-task-');
    try {
      writeFileSync(join(folder, 'file'), 'kept in memory');
      const mount = { kind: 'bind', source: folder, readOnly: true, options: [] } as const;
      const argv = ['sh', '-c', 'cat /mnt/file; ls /dev/shm'];
      const { stdout } = await runTask(task(argv, { mounts: [{ ...mount, target: '/mnt' }] }));
      assert.equal(stdout, 'kept in memory');
      const whole = { ...mount, source: '/dev/shm', target: '/dev/shm' };
      const shown = await runTask(task(['cat', join(folder, 'file')], { mounts: [whole] }));
      assert.equal(shown.stdout, 'kept in memory');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('shares the network of the host where that is asked for', async () => {
    const spec = task(['sh', '-c', 'ip -o -4 addr show eth0; echo $$; touch /sys/x'], {
      sandbox: 'host',
      hostname: '',
    });
    const { stdout, stderr } = await runTask(spec);
    assert.match(stdout, /192\.0\.2\.10[\s\S]*\n1\n/);
    assert.match(stderr, /^touch: .*/);
  });

  test('shares the processes of the host where that is asked for', async () => {
    const spec = task(['sh', '-c', 'ps -p $PPID -o args='], { pidHost: true });
    assert.match((await runTask(spec)).stdout, /sluice-wait/);
    const signalled = task(['sleep', '100'], { pidHost: true });
    await host.agent.createTask(signalled);
    await host.agent.startTask(signalled.id);
    await host.agent.signalTask(signalled.id, 'SIGTERM');
    assert.equal(await exitOf(signalled.id), 143);
    await host.agent.removeTask(signalled.id);
  });

  test('input reaches it, and its end', async () => {
    const { stdout, code } = await runTask(task(['cat'], { openStdin: true }), 'one\ntwo\n');
    assert.equal(stdout, 'one\ntwo\n');
    assert.equal(code, 0);
  });

  test('much output arrives whole', async () => {
    const { stdout } = await runTask(task(['seq', '200000']));
    assert.equal(stdout.length, 1_288_895);
  });

  test('a terminal', { skip: noTerminals }, async () => {
    const spec = task(['sh', '-c', 'tty; stty size; read line; echo "got $line"; stty size'], {
      tty: true,
      openStdin: true,
    });
    await host.agent.createTask(spec);
    const streams = await host.agent.attachTask(spec.id);
    let seen = '';
    const ended = new Promise<void>((resolve) => {
      streams.onEnd = resolve;
    });
    streams.onOutput = (_, data) => {
      seen += data.toString();
    };
    await host.agent.startTask(spec.id);
    await until(() => /\d+ \d+\r\n/.test(seen));
    await host.agent.resize(spec.id, 101, 33);
    streams.write(Buffer.from('hello\r'));
    await ended;
    assert.match(seen, /^\/dev\/pts\/\d+\r\n/);
    assert.match(seen, /got hello\r\n33 101\r\n/);
    await host.agent.removeTask(spec.id);
  });

  const refused: [string, string[], RegExp][] = [
    ['a command that is not there', ['foo'], /exec: "foo": executable file not found in \$PATH/],
    ['a file that is not there', ['/no/foo'], /no such file or directory/],
    ['a folder', ['/etc'], /is a directory: permission denied/],
    ['a file that cannot be run', ['/etc/passwd'], /permission denied/],
  ];
  for (const [what, argv, message] of refused) {
    test(`refuses ${what}`, async () => {
      const spec = task(argv);
      await host.agent.createTask(spec);
      await assert.rejects(host.agent.startTask(spec.id), { code: 'E_AGENT_EXEC', message });
      await host.agent.removeTask(spec.id);
    });
  }

  test('refuses unknown users, images, mounts and folders', async () => {
    await assert.rejects(host.agent.createTask(task(['sh'], { user: 'nosuch' })), /find user/);
    await assert.rejects(host.agent.createTask(task(['sh'], { image: 'no' })), /no such image/);
    const mount = {
      kind: 'bind' as const,
      source: '/',
      target: '/no/such',
      readOnly: true,
      options: [],
    };
    await assert.rejects(host.agent.createTask(task(['sh'], { mounts: [mount] })), /mount target/);
  });

  test('signals, pause, statistics and processes', { skip: noCgroups }, async () => {
    const spec = task(['sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.05; done']);
    await host.agent.createTask(spec);
    const state = await host.agent.startTask(spec.id);
    assert.equal(state.status, 'running');
    assert.match(run('cat', `/proc/${state.pid}/cmdline`), /trap/);
    const [titles, ...rows] = await host.agent.top(spec.id, []);
    assert.equal(titles?.[1], 'PID');
    assert.ok(rows.some((row) => row[1] === String(state.pid)));
    await host.agent.pauseTask(spec.id, true);
    const { cpuNs } = await host.agent.stats(spec.id);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal((await host.agent.stats(spec.id)).cpuNs, cpuNs);
    await host.agent.pauseTask(spec.id, false);
    assert.ok((await host.agent.stats(spec.id)).links['eth0']);
    await host.agent.signalTask(spec.id, 'SIGTERM');
    assert.equal(await exitOf(spec.id), 7);
    await until(() => host.events.some(([name, id]) => name === 'taskExited' && id === spec.id));
    await host.agent.removeTask(spec.id);
  });

  test('the group of a task is not taken from the next of its id', {
    skip: noCgroups,
  }, async () => {
    const root = mkdtempSync(join(tmpdir(), 'sluice-again-'));
    const clock = new ManualClock();
    const ended = Promise.withResolvers<void>();
    const naming = createNaming(`${host.prefix}again`);
    const shared = { exec: execCommand, native: undefined, logger: silentLogger, podmanEnv: [] };
    const tasks = new Tasks({ ...shared, naming, clock, execRoot: root }, join(root, 'logs'), {
      taskExited: () => ended.resolve(),
      execExited: () => {},
    });
    const spec = task(['true'], { sandbox: 'host' });
    await tasks.create(spec);
    await tasks.start(spec.id);
    await ended.promise;
    await tasks.create(spec);
    // What its start makes and joins, at the moment in between.
    const mounts = findCgroups();
    assert.ok(mounts);
    const group = Cgroup.at(mounts, `${naming.table}/${spec.id}`);
    group.create(spec.limits);
    clock.advance(1000);
    assert.ok(group.joinFiles.every((file) => existsSync(file)));
    await tasks.remove(spec.id);
    removeGroups(naming.table);
    rmSync(root, { recursive: true });
  });

  test('a killed task leaves no process', { skip: noCgroups }, async () => {
    const spec = task(['sh', '-c', 'setsid sleep 4711 & setsid sh -c "sleep 4711" & sleep 4711']);
    await host.agent.createTask(spec);
    await host.agent.startTask(spec.id);
    await until(async () => (await host.agent.top(spec.id, [])).length > 4);
    await host.agent.signalTask(spec.id, 'KILL');
    assert.equal(await exitOf(spec.id), 137);
    assert.doesNotMatch(run('ps', '-eo', 'args'), /sleep 4711/);
    await host.agent.removeTask(spec.id);
  });

  test('want of memory ends it and is told', { skip: noCgroups }, async () => {
    const script = 'x=$(head -c 60000000 /dev/zero | tr "\\0" x); echo done';
    const spec = task(['bash', '-c', script], {
      limits: { memoryBytes: 20_000_000, nanoCpus: undefined, pids: 50 },
    });
    await host.agent.createTask(spec);
    await host.agent.startTask(spec.id);
    await exitOf(spec.id);
    const [state] = (await host.agent.tasks()).filter(({ id }) => id === spec.id);
    assert.equal(state?.exit?.oomKilled, true);
    await host.agent.removeTask(spec.id);
  });

  test('further commands run in its namespaces', async () => {
    const spec = task(['sleep', '1000']);
    await host.agent.createTask(spec);
    await host.agent.startTask(spec.id);
    const order = exec(spec, ['sh', '-c', 'hostname; ps -e | grep -c sleep; cat; exit 5'], {
      stdin: true,
    });
    const streams = await host.agent.startExec(order);
    const gathered = gather(streams);
    streams.write(Buffer.from('input'));
    streams.endInput();
    assert.equal((await gathered).stdout, 'thebox\n1\ninput');
    await until(() => host.events.some(([name, id]) => name === 'execExited' && id === order.id));
    const event = host.events.find(([, id]) => id === order.id);
    assert.equal((event?.[2] as { code: number } | undefined)?.code, 5);
    await assert.rejects(host.agent.startExec(exec(spec, ['foo'])), /executable file not found/);
    const killed = exec(spec, ['sleep', '500']);
    const waiting = gather(await host.agent.startExec(killed));
    await host.agent.signalTask(killed.id, 'SIGKILL');
    await waiting;
    await host.agent.removeTask(spec.id);
  });

  test('keeps its output with times; tail, follow', async () => {
    const spec = task(['sh', '-c', 'echo one; echo two >&2; sleep 0.4; printf three']);
    await host.agent.createTask(spec);
    await host.agent.startTask(spec.id);
    const all = { follow: true, tail: undefined, sinceNs: undefined, untilNs: undefined };
    const entries: LogEntry[] = [];
    await new Promise<void>((resolve) => {
      host.agent.logs(spec.id, all, (entry) => entries.push(entry), resolve);
    });
    const text = entries.map(({ stream, line }) => `${stream}:${line}`);
    assert.deepEqual(text.toSorted(), ['stderr:two\n', 'stdout:one\n', 'stdout:three']);
    assert.ok(entries.every(({ timeNs }) => timeNs > 1_600_000_000_000_000_000n));
    const last: string[] = [];
    await new Promise<void>((resolve) => {
      const query = { ...all, follow: false, tail: 1 };
      host.agent.logs(spec.id, query, ({ line }) => last.push(line.toString()), resolve);
    });
    assert.deepEqual(last, ['three']);
    await host.agent.createTask(spec);
    await host.agent.startTask(spec.id);
    await exitOf(spec.id);
    let count = 0;
    await new Promise<void>((resolve) => {
      host.agent.logs(spec.id, { ...all, follow: false }, () => count++, resolve);
    });
    assert.equal(count, 6);
    await host.agent.removeTask(spec.id);
  });

  test('a second agent on the same folder does not start', () => {
    const entry = new URL('../../src/main/agent.ts', import.meta.url).pathname;
    const kept = ['--log-root', host.root, '--volume-root', host.root];
    const roots = ['--exec-root', host.root, ...kept, '--prefix', host.prefix];
    assert.throws(
      () => host.onHost(process.execPath, entry, ...roots),
      /another agent takes orders at/,
    );
  });

  test('tasks outlive the agent, with streams and end', { skip: noTerminals }, async () => {
    const counting = task(['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done']);
    const ending = task(['sh', '-c', 'sleep 2; echo bye; exit 9']);
    const reading = task(['cat'], { openStdin: true });
    const terminal = task(['sh', '-c', 'read line; echo "got $line"'], {
      tty: true,
      openStdin: true,
    });
    const pids = new Map<string, number>();
    for (const spec of [counting, reading, terminal, ending]) {
      await host.agent.createTask(spec);
      pids.set(spec.id, (await host.agent.startTask(spec.id)).pid);
    }
    await host.killAgent();
    await until(() => !isAlive(pids.get(ending.id) ?? 0));
    await host.startAgent();
    const states = new Map((await host.agent.tasks()).map((state) => [state.id, state]));
    assert.equal(states.get(ending.id)?.exit?.code, 9);
    assert.equal(states.get(counting.id)?.status, 'running');
    assert.equal(states.get(reading.id)?.status, 'running');
    const streams = await host.agent.attachTask(reading.id);
    const gathered = gather(streams);
    streams.write(Buffer.from('still here'));
    streams.endInput();
    assert.equal((await gathered).stdout, 'still here');
    const screen = await host.agent.attachTask(terminal.id);
    const shown = gather(screen);
    screen.write(Buffer.from('hi\r'));
    assert.match((await shown).stdout, /got hi/);
    await host.agent.signalTask(counting.id, 'KILL');
    assert.equal(await exitOf(counting.id), 137);
    const numbers: number[] = [];
    const all = { follow: false, tail: undefined, sinceNs: undefined, untilNs: undefined };
    await new Promise<void>((resolve) => {
      host.agent.logs(counting.id, all, ({ line }) => numbers.push(Number(line)), resolve);
    });
    assert.deepEqual(
      numbers,
      numbers.map((_, index) => index + 1),
      'no line was lost',
    );
    assert.ok(numbers.length > 10);
    for (const spec of [counting, ending, reading, terminal]) await host.agent.removeTask(spec.id);
  });
});
