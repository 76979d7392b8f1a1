import { statSync } from 'node:fs';
import { posix } from 'node:path';
import { SluiceError, systemCode } from '../../base/errors.ts';
import type { TaskMount } from '../../model/task-spec.ts';

const EXECUTABLE = 0o111;

/** The mount that a path lies in. */
export function mountOf(path: string, mounts: readonly TaskMount[]): TaskMount | undefined {
  return mounts
    .filter(({ target }) => path === target || path.startsWith(`${target.replace(/\/$/, '')}/`))
    .sort((a, b) => b.target.length - a.target.length)[0];
}

/** Where a path that a task sees is on the host; undefined: in a file system that is new. */
export function hostPath(path: string, mounts: readonly TaskMount[]): string | undefined {
  const within = mountOf(path, mounts);
  if (!within) return path;
  if (within.kind === 'tmpfs') return undefined;
  return posix.join(within.source, path.slice(within.target.replace(/\/$/, '').length));
}

type Verdict = 'fine' | 'missing' | 'denied' | 'directory';

function judge(at: string | undefined): Verdict {
  if (at === undefined) return 'missing';
  try {
    const stat = statSync(at);
    if (stat.isDirectory()) return 'directory';
    return stat.mode & EXECUTABLE ? 'fine' : 'denied';
  } catch (error) {
    return systemCode(error) === 'EACCES' ? 'denied' : 'missing';
  }
}

/**
 * Refuses a command that cannot be found or run, in the words that container users know. `locate`:
 * where a path that the command would see is on the host.
 */
export function checkCommand(
  command: string,
  env: readonly string[],
  cwd: string,
  locate: (path: string) => string | undefined,
): void {
  const refuse = (why: string) => {
    throw new SluiceError('E_AGENT_EXEC', `exec: "${command}": ${why}`);
  };
  if (command === '') refuse('executable file not found in $PATH');
  if (command.includes('/')) {
    const path = posix.resolve(cwd || '/', command);
    const verdict = judge(locate(path));
    if (verdict === 'missing') refuse(`stat ${command}: no such file or directory`);
    if (verdict === 'directory') refuse('is a directory: permission denied');
    if (verdict === 'denied') refuse('permission denied');
    return;
  }
  const path = env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '';
  const verdicts = path
    .split(':')
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => judge(locate(posix.join(folder, command))));
  if (verdicts.includes('fine')) return;
  refuse(verdicts.includes('denied') ? 'permission denied' : 'executable file not found in $PATH');
}
