import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../../../base/errors.ts';
import { Cgroup, removeGroups } from '../../../kernel/cgroup.ts';
import { must } from '../../../kernel/exec.ts';
import { NETNS_FOLDER, netnsPath } from '../../../kernel/netns.ts';
import type { TaskStreams } from '../../../link/agent-port.ts';
import { canonicalName } from '../../../model/image-name.ts';
import type { CommitOrder, ExecSpec, TaskSpec } from '../../../model/task-spec.ts';
import type { AgentTools } from '../../plane/tools.ts';
import { UploadStreams } from '../child-streams.ts';
import { emptyVolumes } from '../mount-sources.ts';
import { findPlace, type Place } from '../scoped-path.ts';
import { BECOME_SCRIPT } from '../scripts.ts';
import { Task, type TaskEvents, type TaskHome } from '../task.ts';
import { checkDirectory, readAll } from '../task-files.ts';
import { createArguments } from './create-arguments.ts';
import { type Podman, podmanReason, ulimits } from './podman.ts';

const START_LOOK_MS = 5;
const START_TRIES = 4000;
/** Files of an image on a slow disk take their time. */
const COPY_TIMEOUT_MS = 120_000;
/** By which the processes of a further command are found. */
const MARK = 'SLUICE_EXEC';

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The directory that a path leads to. */
function placeIfAny(root: string, path: string): Place | undefined {
  try {
    return findPlace(root, path, true);
  } catch (error) {
    if (error instanceof SluiceError && error.code === 'E_OBJECT_NOT_FOUND') return undefined;
    throw error;
  }
}

function pidNamespace(pid: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}

/** The container of a task among those of podman. */
export function containerName(tools: AgentTools, id: string): string {
  return `${tools.naming.table}-${id}`;
}

/**
 * A task in a container of podman's. The container is kept between two runs and with it the files
 * that it has written. A small podman process hands its streams on; it is what is waited for.
 */
export class PodmanTask extends Task {
  readonly #podman: Podman;

  constructor(
    podman: Podman,
    tools: AgentTools,
    home: TaskHome,
    spec: TaskSpec,
    events: TaskEvents,
  ) {
    super(tools, home, spec, events);
    this.#podman = podman;
  }

  get #name(): string {
    return containerName(this.tools, this.spec.id);
  }

  protected check(): void {
    this.#create();
  }

  /** Arguments of its creation. Throws for what it cannot have. */
  #create(): string[] {
    const { spec, home } = this;
    const isHost = spec.sandbox === 'host';
    return createArguments(spec, {
      name: this.#name,
      netns: isHost ? undefined : netnsPath(this.tools.naming.netns(spec.sandbox)),
      folder: home.folder,
      cgroupParent: this.group && this.groupPath,
      ulimits: ulimits(),
    });
  }

  protected async layOut(): Promise<void> {
    const { code } = await this.#podman.run('container', 'exists', this.#name);
    if (code === 0) return;
    await this.#createContainer();
    try {
      await this.#fillVolumes();
    } catch (error) {
      await this.discard();
      throw error;
    }
  }

  /** One whose files are wanted before its start has no network yet, of which podman wants a file. */
  async #createContainer(): Promise<void> {
    const { sandbox } = this.spec;
    const netns = netnsPath(this.tools.naming.netns(sandbox));
    if (sandbox === 'host' || existsSync(netns)) {
      await this.#podman.must(...this.#create());
      return;
    }
    mkdirSync(NETNS_FOLDER, { recursive: true });
    writeFileSync(netns, '');
    try {
      await this.#podman.must(...this.#create());
    } finally {
      rmSync(netns, { force: true });
    }
  }

  /** Empty volumes get what the image has where they are mounted. */
  async #fillVolumes(): Promise<void> {
    const empty = emptyVolumes(this.spec.mounts);
    if (empty.length === 0) return;
    await this.withRoot(async (root) => {
      for (const { source, target } of empty) await this.#fill(source, root, target);
    });
  }

  async #fill(source: string, root: string, target: string): Promise<void> {
    const place = placeIfAny(root, target);
    if (!place) return;
    // The command finds it by our descriptor.
    const from = `/proc/${process.pid}/fd/${place.directory}/.`;
    try {
      const copy = ['cp', '--archive', '--no-target-directory', from, source];
      await must(this.tools.exec, copy, { timeoutMs: COPY_TIMEOUT_MS });
    } finally {
      closeSync(place.directory);
    }
  }

  protected async withRoot<T>(use: (root: string) => T): Promise<T> {
    const root = await this.#podman.must('mount', this.#name);
    try {
      return await use(root);
    } finally {
      // Whoever has a folder open keeps it.
      await this.#podman.must('unmount', this.#name);
    }
  }

  /** By podman: links in the container must lead nowhere else while files are made. */
  override async writeFiles(path: string, own: boolean): Promise<TaskStreams> {
    await this.withFiles(path, (view) => checkDirectory(view, path));
    const order = ['cp', `--archive=${own}`, '--overwrite', '-', `${this.#name}:${path}`];
    return new UploadStreams(this.#podman.spawn(...order), podmanReason);
  }

  async commit({ name, author, message, changes, pause }: CommitOrder): Promise<string> {
    const args = [
      ...['commit', '--quiet', `--pause=${pause}`],
      ...(author === '' ? [] : [`--author=${author}`]),
      ...(message === '' ? [] : [`--message=${message}`, '--format=docker']),
      ...changes.map((change) => `--change=${change}`),
    ];
    const target = name === '' ? [] : [canonicalName(name)];
    const id = await this.#podman.must(...args, this.#name, ...target);
    return `sha256:${id.replace(/^sha256:/, '')}`;
  }

  export(): Promise<TaskStreams> {
    return this.withRoot((root) => readAll(root, this.home.tool));
  }

  async start(): Promise<void> {
    this.warnOf(this.group?.create(this.spec.limits) ?? []);
    try {
      // Everything but the last step: whatever refuses the command says so here.
      await this.#podman.must('init', this.#name);
    } catch (error) {
      throw new SluiceError('E_AGENT_EXEC', errorText(error));
    }
    const format = '{{.State.Pid}}';
    const pid = await this.#podman.must('container', 'inspect', '--format', format, this.#name);
    writeFileSync(join(this.home.folder, 'pid'), read(`/proc/${pid}/stat`));
    this.#keepCount(pid);
    const waiting = read(`/proc/${pid}/cmdline`);
    const input = this.spec.openStdin ? ['--interactive'] : [];
    const order = ['start', '--attach', '--sig-proxy=false', ...input, this.#name];
    await this.command.start([], this.#become(this.spec.tty, order));
    for (let tries = 0; tries < START_TRIES; tries++) {
      // Until then the process is the runtime's.
      if (!this.command.running || read(`/proc/${pid}/cmdline`) !== waiting) return;
      await new Promise<void>((resolve) => this.tools.clock.after(START_LOOK_MS, resolve));
    }
  }

  /** The group of its first process, where groups do not count what happens below them. */
  get #counter(): Cgroup | undefined {
    const { cgroups } = this.home;
    return cgroups?.version === 1 ? Cgroup.at(cgroups, `${this.groupPath}/first`) : undefined;
  }

  /** Podman's own group goes with the container, and with it the count of what was killed. */
  #keepCount(pid: string): void {
    this.#counter?.create({ memoryBytes: undefined, nanoCpus: undefined, pids: undefined });
    for (const file of this.#counter?.joinFiles ?? []) writeFileSync(file, pid);
  }

  #become(tty: boolean, args: readonly string[]): string[] {
    return [
      ...['/bin/sh', '-c', BECOME_SCRIPT, 'sluice-become', this.home.tool('setsid')],
      ...(tty ? ['--ctty'] : []),
      ...this.#podman.argv(...args),
    ];
  }

  protected override oomKilled(): boolean {
    return super.oomKilled() || (this.#counter?.oomKilled() ?? false);
  }

  protected execArgv(exec: ExecSpec): string[] {
    return this.#become(exec.tty, [
      'exec',
      ...(exec.tty ? ['--tty', '--env=TERM=xterm'] : []),
      ...(exec.stdin ? ['--interactive'] : []),
      ...(exec.user === '' ? [] : [`--user=${exec.user}`]),
      ...(exec.cwd === '' ? [] : [`--workdir=${exec.cwd}`]),
      ...[...exec.env, `${MARK}=${exec.id}`].map((entry) => `--env=${entry}`),
      this.#name,
      ...exec.argv,
    ]);
  }

  /** The first process in the container that carries the command's mark. */
  protected execPid(id: string): number | undefined {
    const home = pidNamespace(this.state.pid);
    const marked = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && pidNamespace(name) === home)
      .filter((name) => read(`/proc/${name}/environ`).split('\0').includes(`${MARK}=${id}`));
    return marked.map(Number).sort((a, b) => a - b)[0];
  }

  protected async discard(): Promise<void> {
    await this.#podman.must('rm', '--force', '--time=0', '--volumes', '--ignore', this.#name);
    // Its runtime makes one of each kind, of which it leaves the upper ones.
    removeGroups(this.groupPath);
  }
}
