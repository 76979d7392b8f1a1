import { SluiceError } from '../../../base/errors.ts';
import { COMMAND_PATH } from '../../../kernel/exec.ts';
import type { TaskMount, TaskSpec } from '../../../model/task-spec.ts';

const PROPAGATIONS = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

export type CreateContext = {
  readonly name: string;
  /** File of the network namespace; undefined: the host's network. */
  readonly netns: string | undefined;
  /** Holds `hosts`, `hostname` and `resolv.conf`. */
  readonly folder: string;
  /** Above the container's own control group; undefined: it gets none. */
  readonly cgroupParent: string | undefined;
  readonly ulimits: readonly string[];
};

/** A field of a list of podman's, which is read as CSV. Source: RFC 4180 section 2. */
function field(name: string, value: string): string {
  const text = `${name}=${value}`;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function bind(source: string, target: string, further: readonly string[]): string {
  const fields = ['type=bind', field('source', source), field('target', target), ...further];
  return `--mount=${fields.join(',')}`;
}

function mountFlag({ kind, source, target, readOnly, options }: TaskMount): string {
  if (!target.startsWith('/')) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `invalid mount of "${target}": an absolute path is needed`,
    );
  }
  if (kind === 'tmpfs') {
    const all = [...(readOnly && !options.includes('ro') ? ['ro'] : []), ...options];
    return `--tmpfs=${target}${all.length > 0 ? `:${all.join(',')}` : ''}`;
  }
  const propagation = options.find((option) => PROPAGATIONS.includes(option));
  return bind(source, target, [
    ...(propagation === undefined ? [] : [`bind-propagation=${propagation}`]),
    ...(readOnly ? ['readonly'] : []),
  ]);
}

function rights({ capabilities, noNewPrivileges, privileged, pidHost }: TaskSpec): string[] {
  return [
    ...(privileged
      ? ['--privileged']
      : ['--cap-drop=all', ...capabilities.map((one) => `--cap-add=${one}`)]),
    ...(noNewPrivileges ? ['--security-opt=no-new-privileges'] : []),
    ...(pidHost ? ['--pid=host'] : []),
  ];
}

function environment({ env, hostname, tty }: TaskSpec): string[] {
  const given = new Set(env.map((entry) => entry.split('=')[0]));
  const further = [
    `PATH=${COMMAND_PATH}`,
    ...(hostname === '' ? [] : [`HOSTNAME=${hostname}`]),
    ...(tty ? ['TERM=xterm'] : []),
  ].filter((entry) => !given.has(entry.split('=')[0]));
  return [...further, ...env].map((entry) => `--env=${entry}`);
}

/** Arguments of `podman create` for a task; nothing of it comes from podman's own defaults. */
export function createArguments(spec: TaskSpec, context: CreateContext): string[] {
  const { name, netns, folder, cgroupParent } = context;
  const groups =
    cgroupParent === undefined ? ['--cgroups=disabled'] : [`--cgroup-parent=/${cgroupParent}`];
  return [
    'create',
    `--name=${name}`,
    '--pull=never',
    // Output and end are ours to keep.
    '--log-driver=none',
    '--no-hosts',
    '--systemd=false',
    '--unsetenv-all',
    '--no-healthcheck',
    '--image-volume=ignore',
    '--entrypoint=',
    `--network=${netns === undefined ? 'host' : `ns:${netns}`}`,
    ...(spec.hostname === '' ? ['--uts=host'] : [`--hostname=${spec.hostname}`]),
    ...groups,
    // Limits are written into the group, where they can be changed.
    '--pids-limit=-1',
    ...context.ulimits,
    ...['hosts', 'hostname', 'resolv.conf'].map((file) =>
      bind(`${folder}/${file}`, `/etc/${file}`, []),
    ),
    ...spec.mounts.map(mountFlag),
    ...rights(spec),
    ...environment(spec),
    ...(spec.cwd === '' ? [] : [`--workdir=${spec.cwd}`]),
    ...(spec.user === '' ? [] : [`--user=${spec.user}`]),
    ...spec.groups.map((group) => `--group-add=${group}`),
    ...(spec.tty ? ['--tty'] : []),
    ...(spec.openStdin ? ['--interactive'] : []),
    '--',
    spec.image.replace(/^sha256:/, ''),
    ...spec.argv,
  ];
}
