import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unsupported } from '../../base/faults.ts';
import { netnsPath } from '../../kernel/netns.ts';
import type { TaskStreams } from '../../link/agent-port.ts';
import type { ExecSpec } from '../../model/task-spec.ts';
import { findAccount } from './accounts.ts';
import type { Command } from './command.ts';
import { becomeCommand, mountTable, taskEnv, unsharePrefix } from './command-line.ts';
import { checkCommand, hostPath } from './command-lookup.ts';
import type { ProcessId } from './holder.ts';
import { emptyVolumes, takeOwner } from './mount-sources.ts';
import { BECOME_SCRIPT, ENTER_SCRIPT, JOIN_SCRIPT } from './scripts.ts';
import { Task } from './task.ts';

function children(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/**
 * A task on the file system of the host, in namespaces of its own. What it needs to live on
 * without the agent is in its folder, in its namespaces and in two small processes.
 */
export class ProcessTask extends Task {
  #mounts: string[] = [];

  /** Unknown users, mounts and forbidden characters. */
  protected check(): void {
    findAccount(this.spec.user, this.spec.groups);
    this.#mounts = mountTable(this.spec, this.home.folder, existsSync);
  }

  protected async layOut(): Promise<void> {
    const lines = this.#mounts.map((line) => `${line}\n`).join('');
    writeFileSync(join(this.home.folder, 'fstab'), lines);
    // The files there are the host's; whose the directory is counts for the volume too.
    for (const { source, target } of emptyVolumes(this.spec.mounts)) takeOwner(source, target);
  }

  async start(): Promise<void> {
    const { spec } = this;
    const { folder, tool } = this.home;
    const account = findAccount(spec.user, spec.groups);
    const env = taskEnv(spec, account, spec.hostname);
    checkCommand(spec.argv[0] ?? '', env, spec.cwd, (path) => hostPath(path, spec.mounts));
    this.#joinable();
    const netns =
      spec.sandbox === 'host' ? undefined : netnsPath(this.tools.naming.netns(spec.sandbox));
    await this.command.start(unsharePrefix(tool, netns, spec.pidHost), [
      '/bin/sh',
      '-c',
      ENTER_SCRIPT,
      'sluice-enter',
      folder,
      spec.hostname,
      ...becomeCommand(
        tool,
        { ...spec, account },
        { argv: spec.argv, env, cwd: spec.cwd, tty: spec.tty },
      ),
    ]);
  }

  #joinable(): void {
    const { group } = this;
    this.warnOf(group?.create(this.spec.limits) ?? []);
    const files = group?.joinFiles ?? [];
    writeFileSync(join(this.home.folder, 'cgroups'), files.map((file) => `${file}\n`).join(''));
  }

  protected execArgv(exec: ExecSpec, { pid }: ProcessId): string[] {
    const { spec } = this;
    const { tool, folder } = this.home;
    const account = findAccount(exec.user || spec.user, spec.groups);
    const env = taskEnv({ env: [...spec.env, ...exec.env], tty: exec.tty }, account, spec.hostname);
    const cwd = exec.cwd || spec.cwd;
    // As it sees them: a memory file system has files by now.
    checkCommand(exec.argv[0] ?? '', env, cwd, (path) => `/proc/${pid}/root${path}`);
    return [
      '/bin/sh',
      '-c',
      JOIN_SCRIPT,
      'sluice-join',
      join(folder, 'cgroups'),
      tool('nsenter'),
      `--target=${pid}`,
      '--mount',
      '--uts',
      '--ipc',
      '--net',
      ...(spec.pidHost ? [] : ['--pid']),
      '/bin/sh',
      '-c',
      BECOME_SCRIPT,
      'sluice-become',
      ...becomeCommand(tool, { ...spec, account }, { argv: exec.argv, env, cwd, tty: exec.tty }),
    ];
  }

  protected execPid(_: string, command: Command): number | undefined {
    const [first = 0] = children(command.waiterPid ?? 0);
    return this.spec.pidHost ? first : children(first)[0];
  }

  protected async withRoot<T>(use: (root: string) => T): Promise<T> {
    return use('/');
  }

  async export(): Promise<TaskStreams> {
    throw unsupported(
      'the files of the image "host" are those of the host, which are not exported',
    );
  }

  async commit(): Promise<string> {
    throw unsupported(
      'the files of the image "host" are those of the host: no image is made of them',
    );
  }

  protected async discard(): Promise<void> {}
}
