import { spawn } from 'node:child_process';
import { closeSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';
import { invalid } from '../../base/faults.ts';
import type { TaskStreams } from '../../link/agent-port.ts';
import type { FileStat, TaskMount } from '../../model/task-spec.ts';
import { DownloadStreams, type PipedChild, UploadStreams } from './child-streams.ts';
import type { ToolPaths } from './command-line.ts';
import { mountOf } from './command-lookup.ts';
import { findPlace, type Place, statPlace } from './scoped-path.ts';

/** The descriptor under which a child has the directory that it works in. */
const FOLDER = '/proc/self/fd/3';
/** A file that changed while it was read is told as it was read. Source: GNU tar, "Return values". */
const TAR_COMPLETE = [0, 1];

/** The files of a task: a path of it, below a folder of the host. */
export type FileView = { readonly root: string; readonly path: string };

/** Where the files of a task that does not run are: what was mounted last wins. */
export function viewOf(path: string, mounts: readonly TaskMount[], root: string): FileView {
  const within = mountOf(posix.normalize(path).replace(/(.)\/$/, '$1'), mounts);
  if (!within || within.kind === 'tmpfs') return { root, path };
  const rest = posix.normalize(path).slice(within.target.replace(/\/$/, '').length);
  // From its parent: the source may be a file, and its name is not the target's.
  return { root: posix.dirname(within.source), path: `/${posix.basename(within.source)}${rest}` };
}

function spawnIn(directory: number, argv: readonly string[]): PipedChild {
  const [file = '', ...rest] = argv;
  const child = spawn(file, rest, {
    stdio: ['pipe', 'pipe', 'pipe', directory],
    env: { LC_ALL: 'C.UTF-8' },
  });
  // exempt(as): its first three streams are pipes
  return child as unknown as PipedChild;
}

const tarReason = (stderr: string) => stderr.trim().split('\n').at(-1) ?? '';

function closing<T>(place: Place, use: () => T): T {
  try {
    return use();
  } finally {
    closeSync(place.directory);
  }
}

/** What a path names; a link is told as a link. */
export function statFile({ root, path }: FileView, asked: string): FileStat {
  const place = findPlace(root, path);
  return closing(place, () => {
    const { stats, link } = statPlace(place, asked);
    const { mode, size, mtimeMs } = stats;
    return { name: posix.basename(asked), mode, size, mtimeMs, link };
  });
}

/** An archive of a path, whose entries begin with the last name of what was asked for. */
export function readFiles(view: FileView, asked: string, tool: ToolPaths): TaskStreams {
  const place = findPlace(view.root, view.path);
  return closing(place, () => {
    statPlace(place, asked);
    const { name } = place;
    const wanted = posix.basename(asked) || '.';
    const escaped = (text: string) => text.replaceAll(/[\\/.*[\]^$&]/g, '\\$&');
    const rename =
      name === wanted ? [] : [`--transform=flags=rSh;s/^${escaped(name)}/${escaped(wanted)}/`];
    const argv = ['--create', `--directory=${FOLDER}`, '--numeric-owner', ...rename, '--', name];
    const child = spawnIn(place.directory, [tool('tar'), ...argv]);
    return new DownloadStreams(child, tarReason, TAR_COMPLETE);
  });
}

/** Takes an archive into a directory of a task. Throws when it is none. */
export function writeFiles(view: FileView, asked: string, tool: ToolPaths): TaskStreams {
  checkDirectory(view, asked);
  const place = findPlace(view.root, view.path, true);
  return closing(place, () => {
    const argv = ['--extract', `--directory=${FOLDER}`, '--numeric-owner', '--same-owner'];
    const how = ['--preserve-permissions', '--keep-directory-symlink'];
    return new UploadStreams(spawnIn(place.directory, [tool('tar'), ...argv, ...how]), tarReason);
  });
}

/** Throws for what is no directory and leads to none. */
export function checkDirectory({ root, path }: FileView, asked: string): void {
  try {
    closeSync(findPlace(root, path, true).directory);
  } catch (error) {
    const place = findPlace(root, path);
    const { stats } = closing(place, () => statPlace(place, asked));
    throw stats.isFile() ? invalid('extraction point is not a directory') : error;
  }
}

/** Everything below a folder. */
export function readAll(root: string, tool: ToolPaths): TaskStreams {
  const place = findPlace(root, '/');
  return closing(place, () => {
    const argv = ['--create', `--directory=${FOLDER}`, '--numeric-owner', '--'];
    const child = spawnIn(place.directory, [tool('tar'), ...argv, ...readdirSync(root)]);
    return new DownloadStreams(child, tarReason, TAR_COMPLETE);
  });
}
