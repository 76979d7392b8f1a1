import { createHash, scryptSync, timingSafeEqual } from 'node:crypto';
import type { Route } from '../../model/route.ts';

type BasicAuth = NonNullable<Route['basicAuth']>;

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function passwordFits(password: string, stored: string): boolean {
  if (stored.startsWith('{SHA256}')) {
    return timingSafeEqual(digest(password), padded(Buffer.from(stored.slice(8), 'base64')));
  }
  if (stored.startsWith('{SCRYPT}')) {
    const [cost = '', salt = '', hash = ''] = stored.slice(8).split(':');
    const expected = Buffer.from(hash, 'base64');
    const options = { N: Number(cost), maxmem: 256 * 1024 * 1024 };
    // What cannot be computed (a cost that is no power of two, or too high) fits no password.
    try {
      const bytes = Buffer.from(salt, 'base64');
      const actual = scryptSync(password, bytes, expected.length || 32, options);
      return expected.length > 0 && timingSafeEqual(actual, expected);
    } catch {
      return false;
    }
  }
  return timingSafeEqual(digest(password), digest(stored));
}

function padded(value: Buffer): Buffer {
  const result = Buffer.alloc(32);
  value.copy(result);
  return result;
}

/** Whether an Authorization value names a user with the right password. Source: RFC 7617. */
export function isAuthorized(authorization: string | undefined, { users }: BasicAuth): boolean {
  const encoded = /^basic ([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '')?.[1];
  const [user = '', ...rest] = Buffer.from(encoded ?? '', 'base64')
    .toString()
    .split(':');
  const stored = Object.hasOwn(users, user) ? users[user] : undefined;
  return stored !== undefined && encoded !== undefined && passwordFits(rest.join(':'), stored);
}
