import { Fields } from './fields.ts';
import type { Call } from './http.ts';

/** `user:password` of the header by which clients log in; empty: nobody's. Source: RFC 4648. */
export function registryLogin({ request }: Call): string {
  const text = Buffer.from(String(request.headers['x-registry-auth'] ?? ''), 'base64url');
  const auth = Fields.parse(text.toString());
  const [user, password] = [auth.text('username'), auth.text('password')];
  return user === '' ? '' : `${user}:${password}`;
}
