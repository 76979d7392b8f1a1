import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { createNaming } from '../../agent/plane/naming.ts';
import type { HostFacts } from '../../control/daemon-options.ts';
import { privateBlock } from '../../ipam/private-block.ts';
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
  sandboxPath: (id) => netnsPath(createNaming(prefix).netns(id)),
});

/** What options need to know of the machine. */
export function optionFacts(id: string): OptionFacts {
  return {
    linkAddresses: (link) => {
      if (!hasLink(link)) return undefined;
      const found = networkInterfaces()[link] ?? [];
      return found.flatMap(({ cidr }) => (cidr === null || cidr.startsWith('fe80') ? [] : cidr));
    },
    privateBlock: privateBlock(id),
  };
}
