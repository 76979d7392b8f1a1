import { closeSync, constants, lstatSync, openSync, readlinkSync, type Stats } from 'node:fs';
import { SluiceError, systemCode } from '../../base/errors.ts';
import { notFound } from '../../base/faults.ts';

/** Links that lead on from one another. Source: path_resolution(7). */
const MAX_LINKS = 40;
/** A descriptor that stands for a place alone. Source: open(2). */
const O_PATH = 0o10000000;
const DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** A directory that is held open, and the name of something in it; `.`: the directory itself. */
export type Place = { readonly directory: number; readonly name: string };

/** Where an open directory can be named, with what is in it. */
export function placePath({ directory, name }: Place): string {
  return `/proc/self/fd/${directory}/${name}`;
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (systemCode(error) === 'EINVAL') return undefined;
    throw error;
  }
}

/** The open directories from a root down to where a walk is. */
class Walk {
  readonly #open: number[];

  constructor(root: string) {
    this.#open = [openSync(root, O_PATH | constants.O_DIRECTORY)];
  }

  get here(): number {
    return this.#open.at(-1) ?? -1;
  }

  down(name: string): void {
    this.#open.push(openSync(placePath({ directory: this.here, name }), DIRECTORY));
  }

  up(): void {
    if (this.#open.length > 1) closeSync(this.#open.pop() ?? -1);
  }

  toRoot(): void {
    while (this.#open.length > 1) this.up();
  }

  /** Lets go of everything but where it is. */
  arrive(): number {
    const here = this.#open.pop() ?? -1;
    this.drop();
    return here;
  }

  drop(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
  }
}

function step(walk: Walk, path: string, followLast: boolean): string {
  const left = path.split('/').filter((name) => name !== '' && name !== '.');
  let links = 0;
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    if (name === '..') {
      walk.up();
      continue;
    }
    if (left.length === 0 && !followLast) return name;
    const target = linkAt(placePath({ directory: walk.here, name }));
    if (target === undefined) {
      walk.down(name);
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) throw new SluiceError('E_AGENT_SPEC', `too many links in ${path}`);
    if (target.startsWith('/')) walk.toRoot();
    left.unshift(...target.split('/').filter((one) => one !== '' && one !== '.'));
  }
  return '.';
}

/**
 * Finds a path below a root out of which no link leads, even one that is put there meanwhile: every
 * directory is opened by its name in the one before. The last name may be a link unless the path
 * ends with `/` or `followLast`. Whoever gets the place closes its directory. Throws
 * `E_OBJECT_NOT_FOUND`.
 */
export function findPlace(root: string, path: string, followLast = false): Place {
  const walk = new Walk(root);
  try {
    const name = step(walk, path, followLast || /\/\.?$/.test(path));
    return { directory: walk.arrive(), name };
  } catch (error) {
    walk.drop();
    const code = systemCode(error) ?? '';
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES'].includes(code)) {
      throw notFound(`Could not find the file ${path}`);
    }
    throw error;
  }
}

/** What is at a place. Throws `E_OBJECT_NOT_FOUND`. */
export function statPlace(place: Place, path: string): { stats: Stats; link: string } {
  try {
    const stats = lstatSync(placePath(place));
    return { stats, link: stats.isSymbolicLink() ? readlinkSync(placePath(place)) : '' };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw notFound(`Could not find the file ${path}`);
    throw error;
  }
}
