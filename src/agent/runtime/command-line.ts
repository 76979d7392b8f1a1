import { SluiceError } from '../../base/errors.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { TaskMount, TaskSpec } from '../../model/task-spec.ts';
import type { Account } from './accounts.ts';

/** Where a tool of the host is; found once at the start. */
export type ToolPaths = (name: string) => string;

const PRIVATE = 'private';

function isPlain(text: string): boolean {
  return !/[\t\n]/.test(text);
}

/** What a task finds in its environment beyond what it was given. */
export function taskEnv(
  spec: { env: readonly string[]; tty: boolean },
  account: Account,
  hostname: string,
): string[] {
  const given = new Set(spec.env.map((entry) => entry.split('=')[0]));
  const further = [
    `PATH=${COMMAND_PATH}`,
    ...(hostname === '' ? [] : [`HOSTNAME=${hostname}`]),
    ...(spec.tty ? ['TERM=xterm'] : []),
    `HOME=${account.home}`,
  ].filter((entry) => !given.has(entry.split('=')[0]));
  return [...further, ...spec.env];
}

export type Identity = {
  readonly account: Account;
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly privileged: boolean;
};

/** The last steps: a session of its own, fewer rights, a clean environment, the command. */
export function becomeCommand(
  tool: ToolPaths,
  { account, capabilities, noNewPrivileges, privileged }: Identity,
  command: {
    readonly argv: readonly string[];
    readonly env: readonly string[];
    readonly cwd: string;
    readonly tty: boolean;
  },
): string[] {
  const [name = ''] = command.argv;
  if (name.includes('=')) {
    throw new SluiceError('E_AGENT_SPEC', `a command's name must not contain "=": ${name}`);
  }
  const groups =
    account.groups.length > 0 ? [`--groups=${account.groups.join(',')}`] : ['--clear-groups'];
  const names = capabilities.map((one) => `+${one.toLowerCase().replace(/^cap_/, '')}`);
  const rights = privileged ? [] : [`--bounding-set=${['-all', ...names].join(',')}`];
  return [
    tool('setsid'),
    ...(command.tty ? ['--ctty'] : []),
    tool('setpriv'),
    `--reuid=${account.uid}`,
    `--regid=${account.gid}`,
    ...groups,
    ...rights,
    ...(privileged ? [] : ['--inh-caps=-all']),
    ...(noNewPrivileges ? ['--no-new-privs'] : []),
    tool('env'),
    '-i',
    '--default-signal=PIPE',
    `--chdir=${command.cwd || '/'}`,
    ...command.env,
    ...command.argv,
  ];
}

/**
 * The new namespaces of a task; its process namespace only when it has one of its own. That one is
 * entered by the next child: `unshare --fork` would not tell of a child that SIGKILL ended.
 */
export function unsharePrefix(tool: ToolPaths, netnsFile: string | undefined, pidHost: boolean) {
  return [
    ...(netnsFile === undefined ? [] : [tool('nsenter'), `--net=${netnsFile}`]),
    tool('unshare'),
    '--mount',
    '--uts',
    '--ipc',
    ...(pidHost ? [] : ['--pid']),
    '--propagation',
    PRIVATE,
  ];
}

/** The mounts of a task, one a line: kind, source, target, options, with tabs between. */
export function mountLines(spec: TaskSpec, folder: string, exists: (path: string) => boolean) {
  const files = [
    ['resolv.conf', '/etc/resolv.conf'],
    ['hosts', '/etc/hosts'],
    ['hostname', '/etc/hostname'],
  ] as const;
  const lines: string[] = [];
  for (const [file, target] of files) {
    if (exists(target)) lines.push(`bind\t${folder}/${file}\t${target}\t`);
  }
  if (!spec.privileged) {
    // With the host's own /proc these would be the host's to see.
    const guarded = spec.pidHost ? [] : ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq'];
    for (const path of guarded.filter(exists)) lines.push(`bind-ro\t${path}\t${path}\t`);
    lines.push('sysfs\tsysfs\t/sys\tro,nosuid,nodev,noexec');
  }
  lines.push('tmpfs\tshm\t/dev/shm\tnosuid,nodev,noexec,mode=1777,size=64m');
  return [...lines, ...spec.mounts.map((mount) => mountLine(mount, exists))];
}

function mountLine(mount: TaskMount, exists: (path: string) => boolean): string {
  const { kind, source, target, readOnly, options } = mount;
  if (!target.startsWith('/') || ![source, target, ...options].every(isPlain)) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `invalid mount target "${target}": an absolute path without tabs and newlines is needed`,
    );
  }
  if (kind === 'bind' && !exists(source)) {
    throw new SluiceError('E_AGENT_SPEC', `bind source path does not exist: ${source}`);
  }
  if (!exists(target)) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `mount target ${target} does not exist: the image "host" is the host's own file system, in which nothing is made`,
    );
  }
  if (kind === 'bind') return `bind${readOnly ? '-ro' : ''}\t${source}\t${target}\t`;
  const all = ['nosuid', 'nodev', ...(readOnly ? ['ro'] : []), ...options];
  return `tmpfs\ttmpfs\t${target}\t${all.join(',')}`;
}
