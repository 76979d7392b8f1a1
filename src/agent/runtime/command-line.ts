import { SluiceError } from '../../base/errors.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import type { TaskMount, TaskSpec } from '../../model/task-spec.ts';
import type { Account } from './accounts.ts';

/** Where a tool of the host is; found once at the start. */
export type ToolPaths = (name: string) => string;

const PRIVATE = 'private';

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

const SHARED_MEMORY = '/dev/shm';

/** A line of a table of mounts. Source: fstab(5). */
function mountLine(source: string, target: string, type: string, options: string): string {
  const plain = (text: string) =>
    text.replaceAll(/[\s\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return `${plain(source)} ${plain(target)} ${type} ${options} 0 0`;
}

/**
 * The table of a task's mounts: in one go they take a tenth of the time. The source of a file
 * system without a device is our name: `mount -a` leaves out what it takes to be there already.
 */
export function mountTable(
  spec: TaskSpec,
  folder: string,
  exists: (path: string) => boolean,
): string[] {
  const guard = 'nosuid,nodev,noexec';
  const lines: string[] = [];
  if (!spec.pidHost) lines.push(mountLine('sluice', '/proc', 'proc', guard));
  for (const file of ['resolv.conf', 'hosts', 'hostname']) {
    const target = `/etc/${file}`;
    if (exists(target)) lines.push(mountLine(`${folder}/${file}`, target, 'none', 'bind'));
  }
  if (!spec.privileged) {
    // With the host's own /proc these would be the host's to see.
    const guarded = spec.pidHost ? [] : ['/proc/sys', '/proc/sysrq-trigger', '/proc/irq'];
    for (const path of guarded.filter(exists)) {
      lines.push(mountLine(path, path, 'none', 'rbind,ro'));
    }
    // One and the same network has one and the same /sys.
    const host = spec.sandbox === 'host';
    lines.push(
      host
        ? mountLine('/sys', '/sys', 'none', 'rbind,ro')
        : mountLine('sluice', '/sys', 'sysfs', `ro,${guard}`),
    );
  }
  const own = mountLine('sluice', SHARED_MEMORY, 'tmpfs', `${guard},mode=1777,size=64m`);
  const table = (mounts: readonly TaskMount[]) => mounts.map((mount) => taskMount(mount, exists));
  const within = ({ target }: TaskMount) => `${target}/`.startsWith(`${SHARED_MEMORY}/`);
  return [
    ...lines,
    // Sources in the host's shared memory are found until the task's own covers it.
    ...table(spec.mounts.filter((mount) => !within(mount))),
    ...(spec.mounts.some(({ target }) => target === SHARED_MEMORY) ? [] : [own]),
    ...table(spec.mounts.filter(within)),
  ];
}

function taskMount(mount: TaskMount, exists: (path: string) => boolean): string {
  const { kind, source, target, readOnly, options } = mount;
  if (!target.startsWith('/') || options.some((option) => /[\s,\\]/.test(option))) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `invalid mount of "${target}": an absolute path is needed, and options without blanks`,
    );
  }
  if (!exists(target)) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `mount target ${target} does not exist: the image "host" is the host's own file system, in which nothing is made`,
    );
  }
  if (kind !== 'tmpfs') return mountLine(source, target, 'none', `rbind${readOnly ? ',ro' : ''}`);
  const all = ['nosuid', 'nodev', ...(readOnly ? ['ro'] : []), ...options];
  return mountLine('sluice', target, 'tmpfs', all.join(','));
}
