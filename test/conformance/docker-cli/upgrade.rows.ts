import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive } from '../../support/processes.ts';
import { HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

/** Repeats a step until it is told to stop; what went wrong, and how often it was done. */
function loop(step: () => Promise<string | undefined>) {
  let going = true;
  const wrong: string[] = [];
  let count = 0;
  const done = (async () => {
    for (; going; count++) {
      const fault = await step();
      if (fault !== undefined) wrong.push(fault);
    }
  })();
  return async () => {
    going = false;
    await done;
    return { count, wrong };
  };
}

function commands(lab: Lab, wanted: RegExp, ...args: string[]) {
  return loop(async () => {
    const { code, out, err } = await lab.docker(...args);
    if (code === 0 && wanted.test(out)) return undefined;
    return `docker ${args.join(' ')}: ${code} ${out}${err}`;
  });
}

function requests(get: () => Promise<string>) {
  return loop(async () => {
    const said = await get();
    return said.startsWith('aa ') ? undefined : `a request: ${said}`;
  });
}

/** A docker command that lasts. */
class Lasting {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = '';

  constructor(lab: Lab, ...args: string[]) {
    this.#child = spawn('docker', args, {
      env: { ...process.env, DOCKER_HOST: `unix://${lab.socket}` },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (data) => {
        this.output += data;
      });
    }
  }

  say(text: string): void {
    this.#child.stdin?.write(text);
  }

  get said(): () => Promise<string> {
    return async () => this.output;
  }
}

/** Lets a new daemon take over; its process. */
async function upgrade(lab: Lab): Promise<number> {
  const before = taken(lab);
  process.kill(lab.daemonPid, 'SIGUSR2');
  await eventually(async () => String(taken(lab).length > before.length), /true/);
  lab.daemonPid = taken(lab).at(-1) ?? 0;
  return lab.daemonPid;
}

function taken({ log }: Lab): number[] {
  const lines = log.matchAll(/"pid":(\d+),"msg":"a new daemon has taken over"/g);
  return [...lines].map(([, pid]) => Number(pid));
}

async function refusedUpgrade(lab: Lab, wanted: RegExp): Promise<void> {
  const { length } = lab.log;
  process.kill(lab.daemonPid, 'SIGUSR2');
  await eventually(async () => lab.log.slice(length), /upgrade refused, this daemon serves on/);
  assert.match(lab.log.slice(length), wanted);
}

rows(
  [],
  [
    row('UP-1', 'an upgrade fails no command, request, attached stream or wait', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.serve('aa', ['tcp:80'], '--network', 'na', '-p', '8080:80');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      const first = lab.daemonPid;
      const attached = new Lasting(
        lab,
        'run',
        '-i',
        '--name',
        'tt',
        'host',
        'sh',
        '-c',
        'read a; echo "got $a"; exit 7',
      );
      const logs = new Lasting(lab, 'logs', '-f', 'aa');
      const events = new Lasting(lab, 'events');
      await eventually(
        async () => (await lab.docker('inspect', '-f', '{{.State.Status}}', 'tt')).out,
        /running/,
      );
      await lab.ok('network', 'create', 'seen');
      await eventually(events.said, /network create/);
      const ends = [
        commands(lab, /aa/, 'ps'),
        commands(lab, /^in$/m, 'exec', 'aa', 'echo', 'in'),
        commands(lab, /^out$/m, 'run', '--rm', '--network', 'na', 'host', 'echo', 'out'),
        loop(async () => {
          const said = await lab.ask('client', 'tcp', HOST, 8080);
          return said.startsWith('aa ') ? undefined : `a request: ${said}`;
        }),
      ];
      try {
        for (let round = 0; round < 3; round++) await upgrade(lab);
      } finally {
        for (const { count, wrong } of await Promise.all(ends.map((end) => end()))) {
          assert.deepEqual(wrong, []);
          assert.ok(count > 2, `${count} rounds`);
        }
      }
      assert.deepEqual([await events.ended, await logs.ended], [0, 0], events.output + logs.output);
      // The terminal stays with the daemon that it was opened at, and so does what waits for its end.
      assert.ok(isAlive(first));
      attached.say('hello\n');
      assert.equal(await attached.ended, 7, attached.output);
      assert.match(attached.output, /^got hello$/m);
      await eventually(async () => String(isAlive(first)), /false/);
      assert.equal(await lab.inspect('tt', '{{.State.ExitCode}}'), '7');
    }),
    row('UP-2', 'a node stays what it is in its cluster, also a locked manager', async (lab) => {
      await lab.ok('swarm', 'init', '--autolock', '--advertise-addr', HOST);
      try {
        const node = await lab.ok(
          'node',
          'ls',
          '--format',
          '{{.ID}} {{.Status}} {{.ManagerStatus}}',
        );
        assert.match(node, /Ready Leader/);
        await upgrade(lab);
        const now = () =>
          lab.docker('node', 'ls', '--format', '{{.ID}} {{.Status}} {{.ManagerStatus}}');
        await eventually(async () => (await now()).out.trim(), new RegExp(`^${node}$`));
      } finally {
        await lab.ok('swarm', 'leave', '--force');
      }
    }),
    row('UP-3', 'gateway and engine of one daemon go over together', async (lab) => {
      const path = join(lab.folder, 'gateway.yaml');
      writeFileSync(
        path,
        `workers: 1
listeners: { web: { bind: "${HOST}:8081", protocol: tcp, service: app } }
services: { app: { endpoints: ["${HOST}:8080"] } }
`,
      );
      await lab.fresh(['--config', path]);
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      const get = () => lab.ask('client', 'tcp', HOST, 8081);
      await eventually(get, /^aa /);
      await eventually(async () => lab.log, /Sluice serves/);
      const ends = [commands(lab, /aa/, 'ps'), requests(get)];
      const old = lab.daemonPid;
      try {
        await upgrade(lab);
        await upgrade(lab);
      } finally {
        for (const end of ends) assert.deepEqual((await end()).wrong, []);
      }
      await eventually(async () => String(isAlive(old)), /false/);
    }),
    row('UP-4', 'what a new daemon cannot do leaves the old one as it was', async (lab) => {
      const path = join(lab.folder, 'daemon.json');
      const options = (text: object) => writeFileSync(path, JSON.stringify(text));
      options({});
      await lab.fresh(['--config-file', path]);
      const pid = lab.daemonPid;
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      const end = commands(lab, /aa/, 'ps');
      try {
        options({ nonsense: true });
        await refusedUpgrade(lab, /nonsense/);
        // Found when the old one has let go of everything: it takes it back.
        options({ 'metrics-addr': '192.0.2.1:9323' });
        await refusedUpgrade(lab, /cannot serve metrics/);
      } finally {
        assert.deepEqual((await end()).wrong, []);
      }
      assert.ok(isAlive(pid));
      assert.equal(lab.daemonPid, pid);
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      options({});
      await upgrade(lab);
      assert.match(await lab.ok('ps'), /aa/);
    }),
  ],
);
