import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { SluiceError } from '../../../base/errors.ts';
import type { CgroupMounts } from '../../../kernel/cgroup.ts';
import { COMMAND_PATH, type CommandResult } from '../../../kernel/exec.ts';
import type { AgentTools } from '../../plane/tools.ts';
import type { PipedChild } from '../child-streams.ts';

/** Making the files of a container from a large image takes its time on a slow disk. */
const TIMEOUT_MS = 120_000;
/** What the runtimes put before and behind the reason that matters. */
const WRAPPING = [
  /^Error: /,
  /^unable to start container "?[0-9a-f]{64}"?: /,
  /^(?:runc|crun): /,
  /^runc create failed: /,
  /^unable to start container process: /,
  /: OCI (?:runtime|permission|not found)[^:]*$/,
];

/** Runs a command into a pipe and ends as it does. Arguments: command… */
const TO_PIPE_SCRIPT = `
exec 4>&1
code=$({ { "$@" 3>&- 4>&-; echo $? >&3; } | cat >&4; } 3>&1)
exit $code`;

function findTool(name: string): string | undefined {
  return COMMAND_PATH.split(':')
    .map((folder) => `${folder}/${name}`)
    .find((path) => existsSync(path));
}

/** The reason of a failure without the names of the programs that passed it on. */
export function podmanReason(stderr: string): string {
  const lines = stderr
    .trim()
    .split('\n')
    .filter((line) => line !== '');
  const said = lines.findLast((line) => line.startsWith('Error: ')) ?? lines.at(-1) ?? '';
  return WRAPPING.reduce((text, pattern) => text.replace(pattern, ''), said);
}

/** Podman on this host, as its own configuration sets it up. */
export class Podman {
  readonly #tools: AgentTools;
  readonly #cgroups: CgroupMounts | undefined;

  constructor(tools: AgentTools, cgroups: CgroupMounts | undefined) {
    this.#tools = tools;
    this.#cgroups = cgroups;
  }

  get installed(): boolean {
    return findTool('podman') !== undefined;
  }

  /** A command of podman, complete with its environment. */
  argv(...args: string[]): string[] {
    const podman = findTool('podman');
    const env = findTool('env');
    if (podman === undefined || env === undefined) {
      throw new SluiceError('E_AGENT_UNSUPPORTED', 'podman is not installed on this host');
    }
    // One manager for all hosts: with systemd's the place of a group could not be chosen.
    const general = ['--cgroup-manager=cgroupfs', '--events-backend=none', ...this.#ociRuntime()];
    return [
      env,
      '-i',
      `PATH=${COMMAND_PATH}`,
      ...this.#tools.podmanEnv,
      podman,
      ...general,
      ...args,
    ];
  }

  /** The other one does without the old groups beside the new, this one cannot do without any. */
  #ociRuntime(): string[] {
    const name = this.#cgroups?.version === 1 ? 'runc' : 'crun';
    return findTool(name) === undefined ? [] : [`--runtime=${name}`];
  }

  run(...args: string[]): Promise<CommandResult> {
    return this.#tools.exec(this.argv(...args), { timeoutMs: TIMEOUT_MS });
  }

  /** Starts a command that is fed or read. */
  spawn(...args: string[]): PipedChild {
    const [file = '', ...rest] = this.argv(...args);
    return spawn(file, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** The same with a pipe as its output: podman opens it by its name, as a socket cannot be. */
  spawnToPipe(...args: string[]): PipedChild {
    const argv = ['-c', TO_PIPE_SCRIPT, 'sluice-pipe', ...this.argv(...args)];
    return spawn('/bin/sh', argv, { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** Rejects with the reason that podman gives. */
  async must(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code === 0) return stdout.trim();
    const reason = podmanReason(stderr) || `podman ${args[0]} failed with ${code}`;
    throw new SluiceError('E_AGENT_COMMAND', reason);
  }
}

/**
 * Limits of processes and files that podman would raise to what the kernel allows, held to what
 * the agent may give.
 */
export function ulimits(
  limits = readFileSync('/proc/self/limits', 'utf8'),
  pidMax = Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8')),
): string[] {
  const most = 1_048_576;
  const hard = (label: string) => {
    const text = new RegExp(`^${label}\\s+\\S+\\s+(\\S+)`, 'm').exec(limits)?.[1];
    return Math.min(most, text === undefined || text === 'unlimited' ? most : Number(text));
  };
  const files = hard('Max open files');
  const processes = Math.min(hard('Max processes'), pidMax);
  return [`--ulimit=nofile=${files}:${files}`, `--ulimit=nproc=${processes}:${processes}`];
}
