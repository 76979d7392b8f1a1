import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { createNaming } from '../../agent/plane/naming.ts';
import type { HostFacts } from '../../control/daemon-options.ts';
import { privateBlock } from '../../ipam/private-block.ts';
import { COMMAND_PATH } from '../../kernel/exec.ts';
import { netnsPath } from '../../kernel/netns.ts';
import type { OptionFacts } from './settings.ts';

const DYNAMIC_PORTS: readonly [number, number] = [49_153, 65_535];

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Destinations of /proc/net/route but the default. Source: Linux, net/ipv4/fib_trie.c. */
export function parseRoutes(text: string): string[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, destination, , , , , , mask] = line.split('\t');
      if (destination === undefined || mask === undefined) return [];
      // The file holds numbers in the machine's order, and every machine of ours is little-endian.
      const bytes = [...Buffer.from(destination, 'hex')].reverse().join('.');
      const bits = [...Buffer.from(mask, 'hex')]
        .map((byte) => byte.toString(2).replaceAll('0', '').length)
        .reduce((sum, count) => sum + count, 0);
      return bits === 0 ? [] : [`${bytes}/${bits}`];
    });
}

function hasLink(link: string): boolean {
  // Not /sys, which shows the network namespace in which it was mounted.
  return readText('/proc/self/net/dev')
    .split('\n')
    .some((line) => line.trim().startsWith(`${link}:`));
}

/** What `ip -json address` says of a link. */
type Addressed = { readonly addr_info?: readonly { local: string; prefixlen: number }[] };

/** Not from the runtime, which tells nothing of a bridge that nobody has joined. */
function linkAddresses(link: string): string[] | undefined {
  if (!hasLink(link)) return undefined;
  const argv = ['-json', 'address', 'show', 'dev', link];
  const text = execFileSync('ip', argv, { encoding: 'utf8', env: { PATH: COMMAND_PATH } });
  // exempt(as): iproute2's documented answer
  return (JSON.parse(text) as Addressed[])
    .flatMap(({ addr_info = [] }) => addr_info)
    .filter(({ local }) => !local.startsWith('fe80'))
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

/** What the host says of itself, read from its files each time; `prefix`: the agent's names. */
export const hostFacts = (prefix: string): HostFacts => ({
  resolvConf: () => readText('/etc/resolv.conf'),
  hosts: () => readText('/etc/hosts'),
  hostname,
  routes: () => parseRoutes(readText('/proc/self/net/route')),
  dynamicPorts: () => {
    const [low, high] = readText('/proc/sys/net/ipv4/ip_local_port_range').split(/\s+/).map(Number);
    return low && high ? [low, high] : DYNAMIC_PORTS;
  },
  hasLink,
  linkAddresses,
  sandboxPath: (id) => netnsPath(createNaming(prefix).netns(id)),
});

/** What options need to know of the machine. */
export function optionFacts(id: string): OptionFacts {
  return {
    linkAddresses,
    privateBlock: privateBlock(id),
  };
}
