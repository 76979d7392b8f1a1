import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { caller } from '../support/engine.ts';
import { eventually } from '../support/gateway.ts';
import { netnsUnavailable, run } from '../support/netns.ts';
import { processTree } from '../support/processes.ts';
import { activated, noNotify, receive } from '../support/systemd.ts';

/*
 * The units as systemd would run them: on a host of its own (network, /run, /var/lib and /etc), with
 * their commands as they are written but for the folder of the programs, their accounts, privileges,
 * folders and sockets.
 */
const ROOT = new URL('../../', import.meta.url).pathname;
const DEPLOY = join(ROOT, 'helm-free-deploy');
const NOTIFY = '/run/notify';

function unavailable(): string | false {
  const lacking = netnsUnavailable() || noNotify;
  if (lacking) return lacking;
  const accounts = spawnSync('systemd-sysusers', ['--version']).status === 0;
  return accounts ? false : 'needs systemd-sysusers';
}

/** Directives of a unit file; of one that is given several times, the last. */
function directives(name: string): Record<string, string> {
  const text = readFileSync(join(DEPLOY, name), 'utf8').replaceAll(/\\\n\s*/g, '');
  const lines = text.matchAll(/^(\w+)=(.*)$/gm);
  return Object.fromEntries([...lines].map(([, key = '', value = '']) => [key, value]));
}

const HOST = `mount -t tmpfs tmpfs /run && mount --make-shared /run && mount -t tmpfs tmpfs /var/lib
cp -a /etc /run/etc && mount --bind /run/etc /etc && ip link set lo up
systemd-sysusers "$1/sluice.sysusers" && mkdir /etc/sluice
cp "$2" /etc/sluice/sluice.yaml && echo made && exec sleep infinity`;

class UnitHost {
  readonly #holder: ChildProcess;
  readonly #services: ChildProcess[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-units-'));

  private constructor(config: string) {
    const argv = ['--mount', '--net', '--propagation', 'private', 'sh', '-ec', HOST];
    this.#holder = spawn('unshare', [...argv, 'sh', DEPLOY, config], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  static async make(t: TestContext): Promise<UnitHost> {
    const host = new UnitHost(join(ROOT, 'configs/quickstart.yaml'));
    t.after(() => host.#end());
    let text = '';
    host.#holder.stdout?.on('data', (data) => {
      text += data;
    });
    await eventually('the host is made', () => text.includes('made'));
    return host;
  }

  get inside(): string[] {
    return ['nsenter', '--mount', '--net', '--target', String(this.#holder.pid)];
  }

  /** A path of the host, from outside. */
  path(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  run(...argv: string[]): string {
    const [file = '', ...args] = [...this.inside, ...argv];
    return run(file, ...args);
  }

  /** Makes the folders that a unit asks for. */
  #folders(unit: Record<string, string>): Record<string, string> {
    const env: Record<string, string> = {};
    for (const [kind, base] of [
      ['Runtime', '/run'],
      ['State', '/var/lib'],
    ] as const) {
      const name = unit[`${kind}Directory`];
      if (name === undefined) continue;
      const path = join(base, name);
      const mode = unit[`${kind}DirectoryMode`] ?? '0755';
      this.run('install', '-d', '-o', unit['User'] ?? 'root', '-g', unit['Group'] ?? 'root', path);
      this.run('chmod', mode, path);
      env[`${kind.toUpperCase()}_DIRECTORY`] = path;
    }
    return env;
  }

  #privileges(unit: Record<string, string>): string[] {
    const { User: user, Group: group = '', NoNewPrivileges: none } = unit;
    const bounds = unit['CapabilityBoundingSet']?.split(' ').filter(Boolean);
    const kept = bounds?.map((one) => `,+${one.replace('CAP_', '').toLowerCase()}`).join('');
    return [
      'setpriv',
      ...(user ? ['--reuid', user, '--regid', group, '--init-groups'] : []),
      ...(bounds ? ['--bounding-set', `-all${kept}`] : []),
      ...(none === 'true' ? ['--no-new-privs'] : []),
    ];
  }

  /** Starts a service; its process, once it has told that it is ready. */
  async start(name: string, told: () => string): Promise<ChildProcess> {
    const unit = directives(`${name}.service`);
    const folders = this.#folders(unit);
    const command = (key: string) => {
      const [program = '', ...args] = (unit[key] ?? '').split(' ');
      const own = join(ROOT, 'bin', `${program.replace('/usr/bin/', '')}.js`);
      assert.ok(existsSync(own), `${program} is a program of ours`);
      return [...this.#privileges(unit), process.execPath, own, ...args];
    };
    if (unit['ExecStartPre']) this.run(...command('ExecStartPre'));
    const argv = [...this.#socket(unit), ...command('ExecStart')];
    const [file = '', ...args] = [...this.inside, ...argv];
    const child = spawn(file, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', NOTIFY_SOCKET: NOTIFY, ...folders },
    });
    this.#services.push(child);
    const ready = `READY=1\nMAINPID=${child.pid}\n`;
    await eventually(`${name} is ready`, () => {
      assert.equal(child.exitCode, null, `${name} has ended`);
      return told().includes(ready);
    });
    return child;
  }

  /** What starts a service with the socket that it requires. */
  #socket({ Requires: required }: Record<string, string>): string[] {
    if (!required?.endsWith('.socket')) return [];
    const { ListenStream: path = '', ...socket } = directives(required);
    assert.equal(socket['SocketUser'], 'root');
    const open = `chown "root:${socket['SocketGroup']}" "$0"; chmod ${socket['SocketMode']} "$0"`;
    return [...activated(required, path), 'sh', '-c', `${open}; exec "$@"`, path];
  }

  async #end(): Promise<void> {
    for (const child of this.#services.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    }
    for (const pid of processTree(this.#holder.pid ?? 0)) process.kill(pid, 'SIGKILL');
    rmSync(this.folder, { recursive: true });
  }
}

test('the units of agent, engine and gateway run as they are written', {
  skip: unavailable(),
}, async (t) => {
  const host = await UnitHost.make(t);
  const told = await receive(t, NOTIFY, host.inside);
  const agent = await host.start('sluice-agent', told);
  const engine = await host.start('sluice-engine', told);
  await host.start('sluice', told);

  const status = readFileSync(`/proc/${engine.pid}/status`, 'utf8');
  const uid = host.run('id', '-u', 'sluice').trim();
  assert.match(status, new RegExp(`^Uid:\\s+${uid}\\s+${uid}`, 'm'));
  assert.match(status, /^Cap(?:Eff|Bnd):\s+0+$/m);
  assert.equal(host.run('stat', '-c', '%U:%G %a', '/run/sluice').trim(), 'root:root 711');
  const sockets = host.run(
    'stat',
    '-c',
    '%U:%G %a',
    '/run/sluice/agent.sock',
    '/run/sluice/sluice.sock',
  );
  assert.deepEqual(sockets.trim().split('\n'), ['root:sluice 660', 'root:sluice 660']);

  const call = caller(host.path('/run/sluice/sluice.sock'));
  const made = await call('POST', '/containers/create', { Image: 'host', Cmd: ['sleep', '1h'] });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const { Id: id = '' } = made.body as { Id?: string };
  assert.equal((await call('POST', `/containers/${id}/start`)).status, 204);
  assert.match(host.run('ip', 'netns', 'list'), new RegExp(`sluice-${id.slice(0, 6)}`));
  assert.match(host.run('curl', '-s', 'http://127.0.0.1:8080/'), /\S/);

  // The service manager ends the agent alone; the container runs on, and the next agent has it.
  const ended = new Promise((resolve) => agent.once('exit', resolve));
  agent.kill('SIGTERM');
  await ended;
  await host.start('sluice-agent', told);
  await eventually('the container is stopped by the next agent', async () => {
    const { status: code } = await call('POST', `/containers/${id}/stop?t=0`);
    return code === 204;
  });
  assert.equal((await call('DELETE', `/containers/${id}`)).status, 204);
});
