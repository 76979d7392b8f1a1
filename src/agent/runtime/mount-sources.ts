import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { SluiceError } from '../../base/errors.ts';
import type { TaskMount } from '../../model/task-spec.ts';

/** Makes the sources that are to be made. Throws for one that has to be there and is not. */
export function provideSources(mounts: readonly TaskMount[]): void {
  for (const { kind, source, makeSource } of mounts) {
    if (kind === 'tmpfs' || existsSync(source)) continue;
    if (!makeSource || !source.startsWith('/')) {
      throw new SluiceError(
        'E_AGENT_SPEC',
        `invalid mount config for type "${kind}": bind source path does not exist: ${source}`,
      );
    }
    mkdirSync(source, { recursive: true });
  }
}

/** The volumes that are to get what the image has at their targets. */
export function emptyVolumes(mounts: readonly TaskMount[]): TaskMount[] {
  return mounts.filter(
    ({ kind, source, options }) =>
      kind === 'volume' && !options.includes('nocopy') && readdirSync(source).length === 0,
  );
}

/** Gives a directory the owner and the rights of another; of a file it takes neither. */
export function takeOwner(directory: string, of: string): void {
  const found = statSync(of);
  if (!found.isDirectory()) return;
  const { uid, gid, mode } = found;
  chownSync(directory, uid, gid);
  chmodSync(directory, mode & 0o7777);
}
