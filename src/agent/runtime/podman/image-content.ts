import { readlinkSync } from 'node:fs';
import { join, posix } from 'node:path';
import { SluiceError, systemCode } from '../../../base/errors.ts';

/** Links that lead on from one another. Source: path_resolution(7). */
const MAX_LINKS = 40;

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (['EINVAL', 'ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined;
    throw error;
  }
}

/**
 * Where a path of a container is on the host: links in it lead nowhere but below `root`, which must
 * not change meanwhile.
 */
export function pathWithin(root: string, path: string): string {
  let links = 0;
  let at = '/';
  const left = path.split('/').filter(Boolean);
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    const next = posix.join(at, name);
    const target = linkAt(join(root, next));
    if (target === undefined) at = next;
    else {
      links += 1;
      if (links > MAX_LINKS) throw new SluiceError('E_AGENT_SPEC', `too many links in ${path}`);
      if (target.startsWith('/')) at = '/';
      left.unshift(...target.split('/').filter(Boolean));
    }
  }
  return join(root, at);
}
