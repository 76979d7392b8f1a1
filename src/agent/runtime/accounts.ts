import { readFileSync } from 'node:fs';
import { SluiceError } from '../../base/errors.ts';

/** As whom a command runs. */
export type Account = {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly home: string;
};

type Files = { readonly passwd: string; readonly group: string };

const rows = (text: string) => text.split('\n').map((line) => line.split(':'));

function groupId(name: string, files: Files): number {
  if (/^\d+$/.test(name)) return Number(name);
  const row = rows(files.group).find(([entry]) => entry === name);
  if (row?.[2]) return Number(row[2]);
  throw new SluiceError(
    'E_AGENT_SPEC',
    `unable to find group ${name}: no matching entries in group file`,
  );
}

/** Understands `user`, `user:group`, and numbers in place of either; empty is root. */
export function findAccount(
  user: string,
  groups: readonly string[],
  files: Files = {
    passwd: readFileSync('/etc/passwd', 'utf8'),
    group: readFileSync('/etc/group', 'utf8'),
  },
): Account {
  const [name = '', group] = (user || '0').split(':');
  const numeric = /^\d+$/.test(name);
  const row = rows(files.passwd).find((entry) => (numeric ? entry[2] : entry[0]) === name);
  if (!row && !numeric) {
    throw new SluiceError(
      'E_AGENT_SPEC',
      `unable to find user ${name}: no matching entries in passwd file`,
    );
  }
  const uid = Number(row?.[2] ?? name);
  const gid = group === undefined ? Number(row?.[3] ?? 0) : groupId(group, files);
  const own =
    group === undefined && row
      ? rows(files.group).filter((entry) => entry[3]?.split(',').includes(row[0] ?? ''))
      : [];
  const further = [
    ...own.map((entry) => Number(entry[2])),
    ...groups.map((one) => groupId(one, files)),
  ];
  return { uid, gid, groups: [...new Set(further)], home: row?.[5] || '/' };
}
