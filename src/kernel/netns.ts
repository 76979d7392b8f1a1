import { readdirSync } from 'node:fs';
import { type Exec, must } from './exec.ts';
import type { Native } from './native.ts';

/** Where iproute2 keeps named network namespaces. */
export const NETNS_FOLDER = '/run/netns';

/** The file of a named network namespace. */
export function netnsPath(name: string): string {
  return `${NETNS_FOLDER}/${name}`;
}

/** The names of all namespaces that start with a prefix. */
export function listNetns(prefix: string): string[] {
  try {
    return readdirSync(NETNS_FOLDER).filter((name) => name.startsWith(prefix));
  } catch {
    // The folder appears with the first namespace.
    return [];
  }
}

/** Makes a named namespace with its loopback up. */
export async function addNetns(
  { exec, native }: { exec: Exec; native: Native | undefined },
  name: string,
): Promise<void> {
  await must(exec, ['ip', 'netns', 'add', name]);
  if (native) native.inNamespace(netnsPath(name), () => native.raiseLoopback());
  else await must(exec, ['ip', '-n', name, 'link', 'set', 'lo', 'up']);
}

/** Removes the name; the namespace itself goes with its last process and socket. */
export async function removeNetns(exec: Exec, name: string): Promise<void> {
  await must(exec, ['ip', 'netns', 'delete', name]);
}

/** Runs commands in a named namespace. */
export function execIn(exec: Exec, native: Native | undefined, name: string): Exec {
  const path = netnsPath(name);
  // A child is in the namespace that the thread was in when it was made.
  if (native) return (argv, options) => native.inNamespace(path, () => exec(argv, options));
  return (argv, options) => exec(['nsenter', `--net=${path}`, ...argv], options);
}
