import { chownSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { failed, invalid } from '../../base/faults.ts';
import type { TaskFiles } from '../../control/cluster/worker.ts';
import type { TaskMount } from '../../model/task-spec.ts';

/** Source: Linux, include/uapi/linux/magic.h. */
const [TMPFS, RAMFS] = [0x01021994, 0x858458f6];
const SECRETS = '/run/secrets';

function inMemory(path: string): boolean {
  try {
    const { type } = statfsSync(path);
    return type === TMPFS || type === RAMFS;
  } catch {
    return false;
  }
}

function idOf(text: string, what: string): number {
  const id = Number(text || 0);
  if (Number.isInteger(id) && id >= 0) return id;
  throw invalid(`invalid ${what} of a file: "${text}" is not a number`);
}

function bind(source: string, target: string): TaskMount {
  return { kind: 'bind', source, target, readOnly: true, options: [] };
}

/**
 * Secrets and configurations of tasks, below a folder in memory: the daemon's own if it is there,
 * else one of the shared memory.
 */
export function taskFiles(execRoot: string, prefix: string): TaskFiles {
  const root = () => {
    const found = [execRoot, '/dev/shm'].find(inMemory);
    if (found === undefined) {
      throw failed(`secrets need a file system in memory: neither ${execRoot} nor /dev/shm is one`);
    }
    return join(found, `${prefix}-files`);
  };
  const folderOf = (taskId: string) => join(root(), taskId);
  return {
    put(taskId, files) {
      const folder = folderOf(taskId);
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(join(folder, 'secrets'), { recursive: true, mode: 0o755 });
      const mounts = files.map((file): TaskMount | undefined => {
        const relative = file.kind === 'secret' && !file.target.startsWith('/');
        const full = relative ? join(SECRETS, file.target) : normalize(`/${file.target}`);
        const within = full.startsWith(`${SECRETS}/`);
        const below = within ? full.slice(SECRETS.length + 1) : join('files', full);
        const path = join(folder, within ? 'secrets' : '', below);
        if (!path.startsWith(`${folder}/`)) throw invalid(`invalid target "${file.target}"`);
        mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
        writeFileSync(path, file.data, { mode: file.mode });
        chownSync(path, idOf(file.uid, 'owner'), idOf(file.gid, 'group'));
        return within ? undefined : bind(path, full);
      });
      const own = mounts.flatMap((mount) => mount ?? []);
      if (own.length === mounts.length) return own;
      // The process runtime shows the host's own files, where the mount's point has to be.
      mkdirSync(SECRETS, { recursive: true, mode: 0o755 });
      return [bind(join(folder, 'secrets'), SECRETS), ...own];
    },
    drop(taskId) {
      for (const base of [execRoot, '/dev/shm']) {
        rmSync(join(base, `${prefix}-files`, taskId), { recursive: true, force: true });
      }
    },
  };
}
