import { constants } from 'node:fs';
import { invalid } from '../../base/faults.ts';
import type { Engine } from '../../control/engine.ts';
import type { FileStat } from '../../model/task-spec.ts';
import { type Answer, type Call, ok, type Route } from './http.ts';
import { sendStream, takeBody } from './streams.ts';

const TAR = 'application/x-tar';
const STAT_HEADER = 'X-Docker-Container-Path-Stat';
const RIGHTS = 0o777;
/** Types of files, and what they are in the mode that clients read. Source: Go, `io/fs`. */
const TYPES: ReadonlyMap<number, number> = new Map([
  [constants.S_IFDIR, 2 ** 31],
  [constants.S_IFLNK, 2 ** 27],
  [constants.S_IFBLK, 2 ** 26],
  [constants.S_IFCHR, 2 ** 26 + 2 ** 21],
  [constants.S_IFIFO, 2 ** 25],
  [constants.S_IFSOCK, 2 ** 24],
]);
/** Likewise the bits above the rights: set user, set group, sticky. */
const SPECIAL: readonly (readonly [number, number])[] = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
];

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function goMode(mode: number): number {
  const special = SPECIAL.filter(([bit]) => (mode & bit) !== 0);
  return (
    (mode & RIGHTS) +
    (TYPES.get(mode & constants.S_IFMT) ?? 0) +
    special.reduce((sum, [, value]) => sum + value, 0)
  );
}

/** What a path names, as the header that clients read it from. */
export function statHeader({ name, mode, size, mtimeMs, link }: FileStat): string {
  const told = {
    name,
    size,
    mode: goMode(mode),
    mtime: new Date(mtimeMs).toISOString(),
    linkTarget: link,
  };
  return Buffer.from(JSON.stringify(told)).toString('base64');
}

function pathOf({ query }: Call): string {
  const path = query.text('path');
  if (path === '') throw invalid('missing path');
  return path.startsWith('/') ? path : `/${path}`;
}

/** Copies files into containers and out of them. */
export function archiveRoutes({ files }: Engine): Route[] {
  const path = '/containers/:id/archive';
  return [
    {
      method: 'HEAD',
      path,
      run: async (call): Promise<Answer> => {
        const stat = await files.stat(key(call), pathOf(call));
        call.response.setHeader(STAT_HEADER, statHeader(stat));
        return ok(undefined);
      },
    },
    {
      method: 'GET',
      path,
      run: async (call): Promise<Answer> => {
        const { stat, streams } = await files.read(key(call), pathOf(call));
        const headers = { 'content-type': TAR, [STAT_HEADER]: statHeader(stat) };
        return sendStream(streams, call.response, headers);
      },
    },
    {
      method: 'PUT',
      path,
      run: async (call): Promise<Answer> => {
        const own = call.query.flag('copyUIDGID');
        await takeBody(await files.write(key(call), pathOf(call), own), call.request);
        return ok(undefined);
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/export',
      run: async (call): Promise<Answer> => {
        const streams = await files.export(key(call));
        return sendStream(streams, call.response, { 'content-type': TAR });
      },
    },
  ];
}
