import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Where `peers.sh` puts newer peers than those that are installed. */
const FETCHED = new URL('../../.tools/peers/', import.meta.url).pathname;
const PROGRAMS = ['haproxy', 'nginx', 'h2load', 'wrk', 'dnsperf', 'dnsmasq', 'openssl'] as const;
const PACKAGES = ['undici', 'http-proxy'] as const;
const require = createRequire(import.meta.url);

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The newest of a peer that is here: that of `peers.sh`, or the installed one. */
export function programOf(name: 'haproxy' | 'nginx'): string {
  const fetched = join(FETCHED, `run-${name}`);
  return isProgram(fetched) ? fetched : name;
}

/** The module by which the nginx of `programOf` carries bytes. */
export function nginxStreamModule(): string {
  const root = programOf('nginx') === 'nginx' ? '/' : FETCHED;
  return join(root, 'usr/lib/nginx/modules/ngx_stream_module.so');
}

function isPackage(name: string): boolean {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** Whether this machine has a program or package of the benchmark; what is neither is there. */
export function available(name: string): boolean {
  if (PACKAGES.some((one) => one === name)) return isPackage(name);
  if (!PROGRAMS.some((program) => program === name)) return true;
  if ((name === 'haproxy' || name === 'nginx') && programOf(name) !== name) return true;
  return ['/usr/sbin', '/usr/bin', '/usr/local/bin'].some((folder) =>
    isProgram(join(folder, name)),
  );
}
