import { readFileSync } from 'node:fs';
import { SluiceError } from '../base/errors.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

function lookUp(file: string, name: string, what: string): string[] {
  const line = readFileSync(file, 'utf8')
    .split('\n')
    .map((text) => text.split(':'))
    .find((fields) => fields[0] === name || fields[2] === name);
  if (!line) throw new SluiceError('E_CONFIG_IDENTITY', `there is no ${what} "${name}" in ${file}`);
  return line;
}

/** The numbers of the user and group that workers run as; undefined: as the supervisor does. */
export type Identity = { readonly uid: number | undefined; readonly gid: number | undefined };

/** Looks up the names of a configuration. Throws `E_CONFIG_IDENTITY`. */
export function identityOf(config: GatewayConfig): Identity {
  const user = config.user ? lookUp('/etc/passwd', config.user, 'user') : undefined;
  const group = config.group ? lookUp('/etc/group', config.group, 'group') : undefined;
  const gid = group?.[2] ?? user?.[3];
  return {
    uid: user?.[2] === undefined ? undefined : Number(user[2]),
    gid: gid === undefined ? undefined : Number(gid),
  };
}
