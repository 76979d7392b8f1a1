import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
} from 'node:fs';

/** What a group of processes may use at most; undefined: no limit. */
export type GroupLimits = {
  readonly memoryBytes: number | undefined;
  /** In thousand-millionths of a processor. */
  readonly nanoCpus: number | undefined;
  readonly pids: number | undefined;
};

/** What a group of processes has used. */
export type GroupFigures = {
  readonly cpuNs: number;
  readonly memoryBytes: number;
  readonly pids: number;
};

const CPU_PERIOD_US = 100_000;
const V1_CONTROLLERS = ['memory', 'cpu', 'cpuacct', 'pids', 'freezer'] as const;
type V1Controller = (typeof V1_CONTROLLERS)[number];

/** What stands for no limit, by file. */
const V1_UNLIMITED: Readonly<Record<string, string>> = {
  'memory.limit_in_bytes': '-1',
  'cpu.cfs_quota_us': '-1',
  'pids.max': 'max',
};

function quotaUs(nanoCpus: number): number {
  return Math.round((nanoCpus / 1e9) * CPU_PERIOD_US);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function write(path: string, value: string): boolean {
  try {
    appendFileSync(path, value);
    return true;
  } catch {
    return false;
  }
}

function readNumber(path: string): number {
  const value = Number(read(path));
  return Number.isFinite(value) ? value : 0;
}

function field(text: string | undefined, name: string): number {
  const line = text?.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1) ?? 0);
}

/** Where the control groups of a host are mounted. */
export type CgroupMounts =
  | { readonly version: 2; readonly root: string }
  | { readonly version: 1; readonly roots: Readonly<Partial<Record<V1Controller, string>>> };

/** Undefined when nothing is mounted that could limit a task. */
export function findCgroups(mounts = read('/proc/mounts') ?? ''): CgroupMounts | undefined {
  const roots: Partial<Record<V1Controller, string>> = {};
  let unified: string | undefined;
  for (const line of mounts.split('\n')) {
    const [, path = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup2') unified ??= path;
    if (type !== 'cgroup') continue;
    for (const controller of V1_CONTROLLERS) {
      if (options.split(',').includes(controller)) roots[controller] ??= path;
    }
  }
  if (Object.keys(roots).length > 0) return { version: 1, roots };
  return unified === undefined ? undefined : { version: 2, root: unified };
}

function removeFolders(folders: readonly string[]): void {
  for (const folder of folders.flatMap((one) => [...below(one), one])) {
    try {
      rmdirSync(folder);
    } catch {
      // Not there, or its last process is still on its way out: the next pass takes it.
    }
  }
}

/** Removes the groups of a path also where somebody else has made them. */
export function removeGroups(path: string, mounts = read('/proc/mounts') ?? ''): void {
  const roots = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, root]) => `${root}/${path}`);
  removeFolders(roots);
}

/** The groups right below one. */
function below(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((one) => one.isDirectory()).map(({ name }) => `${folder}/${name}`);
  } catch {
    return [];
  }
}

function canMake(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true });
    return true;
  } catch {
    return false;
  }
}

/** Those in which groups can be made below `path`; in a container they are often read-only. */
export function usableCgroups(
  mounts: CgroupMounts | undefined,
  path: string,
): CgroupMounts | undefined {
  if (!mounts) return undefined;
  if (mounts.version === 2) return canMake(`${mounts.root}/${path}`) ? mounts : undefined;
  const usable = Object.entries(mounts.roots).filter(([, root]) => canMake(`${root}/${path}`));
  return usable.length > 0 ? { version: 1, roots: Object.fromEntries(usable) } : undefined;
}

/** One control group, in whichever version the host has. */
export class Cgroup {
  readonly #folders: Readonly<Record<string, string>>;
  readonly #version: 1 | 2;

  private constructor(version: 1 | 2, folders: Record<string, string>) {
    this.#version = version;
    this.#folders = folders;
  }

  /** The group of that path, whether or not it is there. */
  static at(mounts: CgroupMounts, path: string): Cgroup {
    if (mounts.version === 2) return new Cgroup(2, { '': `${mounts.root}/${path}` });
    const folders = Object.entries(mounts.roots).map(([name, root]) => [name, `${root}/${path}`]);
    return new Cgroup(1, Object.fromEntries(folders));
  }

  /** Makes the group; returns the limits that the host cannot enforce. */
  create(limits: GroupLimits): string[] {
    for (const folder of Object.values(this.#folders)) mkdirSync(folder, { recursive: true });
    if (this.#version === 2) this.#handDown();
    return this.limit(limits);
  }

  /** Replaces its limits; returns those that the host cannot enforce. */
  limit(limits: GroupLimits): string[] {
    return this.#version === 2 ? this.#limit2(limits) : this.#limit1(limits);
  }

  #limit1({ memoryBytes, nanoCpus, pids }: GroupLimits): string[] {
    const missing: string[] = [];
    const set = (what: string, controller: V1Controller, file: string, value?: number) => {
      const folder = this.#folders[controller];
      const done = folder && write(`${folder}/${file}`, String(value ?? V1_UNLIMITED[file]));
      if (!done && value !== undefined) missing.push(what);
    };
    set('memory', 'memory', 'memory.limit_in_bytes', memoryBytes);
    if (nanoCpus) set('cpu', 'cpu', 'cpu.cfs_period_us', CPU_PERIOD_US);
    set('cpu', 'cpu', 'cpu.cfs_quota_us', nanoCpus && quotaUs(nanoCpus));
    set('pids', 'pids', 'pids.max', pids);
    return [...new Set(missing)];
  }

  /** Each level hands its controllers down; a level that has processes of its own cannot. */
  #handDown(): void {
    const parts = (this.#folders[''] ?? '').split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const file = `${parts.slice(0, depth).join('/')}/cgroup.subtree_control`;
      if (!existsSync(file)) continue;
      for (const name of ['memory', 'cpu', 'pids']) write(file, `+${name}`);
    }
  }

  #limit2({ memoryBytes, nanoCpus, pids }: GroupLimits): string[] {
    const missing: string[] = [];
    const set = (what: string, file: string, value: string | number | undefined) => {
      const done = write(`${this.#folders['']}/${file}`, String(value ?? 'max'));
      if (!done && value !== undefined) missing.push(what);
    };
    set('memory', 'memory.max', memoryBytes);
    set('cpu', 'cpu.max', nanoCpus && `${quotaUs(nanoCpus)} ${CPU_PERIOD_US}`);
    set('pids', 'pids.max', pids);
    return missing;
  }

  /** Files that take the number of a process that is to join. */
  get joinFiles(): string[] {
    return Object.values(this.#folders).map((folder) => `${folder}/cgroup.procs`);
  }

  /** The processes in it and below it, by their number on the host. */
  processes(): number[] {
    const folder = this.#folders['pids'] ?? Object.values(this.#folders)[0] ?? '';
    return [folder, ...below(folder)].flatMap((one) =>
      (read(`${one}/cgroup.procs`) ?? '').split('\n').filter(Boolean).map(Number),
    );
  }

  /** Stops or resumes all of its processes; false when the host cannot. */
  freeze(frozen: boolean): boolean {
    if (this.#version === 2) {
      return write(`${this.#folders['']}/cgroup.freeze`, frozen ? '1' : '0');
    }
    const folder = this.#folders['freezer'];
    if (!folder) return false;
    return write(`${folder}/freezer.state`, frozen ? 'FROZEN' : 'THAWED');
  }

  /** Whether all of its processes stand still; that takes a moment after `freeze`. */
  get frozen(): boolean {
    if (this.#version === 2) {
      return field(read(`${this.#folders['']}/cgroup.events`), 'frozen') === 1;
    }
    return read(`${this.#folders['freezer']}/freezer.state`) === 'FROZEN';
  }

  figures(): GroupFigures {
    if (this.#version === 2) {
      const folder = this.#folders[''] ?? '';
      return {
        cpuNs: field(read(`${folder}/cpu.stat`), 'usage_usec') * 1000,
        memoryBytes: readNumber(`${folder}/memory.current`),
        pids: readNumber(`${folder}/pids.current`) || this.processes().length,
      };
    }
    return {
      cpuNs: readNumber(`${this.#folders['cpuacct']}/cpuacct.usage`),
      memoryBytes: readNumber(`${this.#folders['memory']}/memory.usage_in_bytes`),
      pids: readNumber(`${this.#folders['pids']}/pids.current`) || this.processes().length,
    };
  }

  /** Whether the kernel ended one of its processes for want of memory. */
  oomKilled(): boolean {
    const text =
      this.#version === 2
        ? read(`${this.#folders['']}/memory.events`)
        : read(`${this.#folders['memory']}/memory.oom_control`);
    return field(text, 'oom_kill') > 0;
  }

  /** Ends all of its processes. */
  kill(): void {
    if (this.#version === 2 && write(`${this.#folders['']}/cgroup.kill`, '1')) return;
    this.freeze(true);
    for (const pid of this.processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended in the meantime.
      }
    }
    this.freeze(false);
  }

  /** Removes the group and those below it; they have to be empty. */
  remove(): void {
    removeFolders(Object.values(this.#folders));
  }
}
