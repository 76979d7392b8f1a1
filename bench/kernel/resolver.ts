import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NameRecord } from '../../src/model/host-intent.ts';
import {
  attachment,
  bridgeNetwork,
  EMPTY_INTENT,
  run,
  sandbox,
  TestHost,
  until,
} from '../../test/support/netns.ts';
import { dnsperf } from '../lib/load.ts';
import { cpuSeconds } from '../lib/usage.ts';
import { start } from './site.ts';

const NAMES = 1000;
const SECONDS = 4;
/** Where the peer listens, beside our resolver's 127.0.0.11. */
const PEER = '127.0.0.12';

export const RESOLVERS = ['sluice', 'dnsmasq'] as const;

/** Figures of a resolver for the names of a network, asked from a sandbox. */
export type ResolverRow = {
  case: string;
  candidate: string;
  perSecond: number;
  cpuMicros: number;
  errors: number;
};

const network = bridgeNetwork('a', ['172.20.0.0/16']);
const asker = sandbox('asker', [attachment('asker', network, ['172.20.0.11/16'])], {
  resolver: { servers: [], records: [], ndots: undefined },
});
const addressOf = (n: number) => `172.20.${1 + (n >> 8)}.${n & 255}`;
const nameOf = (n: number) => `task-${n}.bench.test`;
const names: NameRecord[] = Array.from({ length: NAMES }, (_, n) => ({
  ...{ name: nameOf(n), network: network.id, addresses: [addressOf(n)], primary: true },
}));

/** Starts the resolver on CPU 0 and asks it from CPU 1, in the sandbox. */
export async function measureResolver(candidate: 'sluice' | 'dnsmasq'): Promise<ResolverRow> {
  const host = await TestHost.start();
  try {
    await host.agent.sync({ ...EMPTY_INTENT, networks: [network], sandboxes: [asker], names });
    const queries = join(host.root, 'queries');
    writeFileSync(queries, names.map(({ name }) => `${name} A\n`).join(''));
    const hosts = join(host.root, 'hosts');
    writeFileSync(hosts, names.map(({ name }, n) => `${addressOf(n)} ${name}\n`).join(''));
    const inside = host.netns(asker.id);
    const [own = 0] = host.resolverPids;
    run('taskset', '-acp', '0', String(own));
    const options = [`--listen-address=${PEER}`, '--bind-interfaces', '--no-resolv', '--user=root'];
    const argv = ['dnsmasq', '-k', '-C', '/dev/null', ...options, '--no-hosts'];
    const peer = start(inside, '0', [...argv, `--addn-hosts=${hosts}`]);
    try {
      await until(() => host.inSandbox(asker.id, 'ss', '-Hlun').includes(`${PEER}:53`));
      const to = { address: candidate === 'sluice' ? '127.0.0.11' : PEER, port: 53 };
      const pid = candidate === 'sluice' ? own : peer.pid;
      const ask = (seconds: number) =>
        dnsperf(to, { queries, clients: 20, seconds }, ['nsenter', `--net=/run/netns/${inside}`]);
      await ask(1);
      const before = cpuSeconds(pid);
      const { requests, errors } = await ask(SECONDS);
      const cpuMicros = ((cpuSeconds(pid) - before) / requests) * 1e6;
      return {
        ...{ case: 'names of a network', candidate },
        ...{ perSecond: requests / SECONDS, cpuMicros, errors },
      };
    } finally {
      await peer.stop();
    }
  } finally {
    await host.stop();
  }
}
