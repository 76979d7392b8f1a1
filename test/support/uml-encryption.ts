import { Overlays } from '../../src/agent/cluster/overlays.ts';
import { createNaming } from '../../src/agent/plane/naming.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { execCommand } from '../../src/kernel/exec.ts';
import { execIn } from '../../src/kernel/netns.ts';
import type { ApplyFailure } from '../../src/link/agent-port.ts';
import { run } from './netns.ts';
import { clusterIntent, macOf } from './netns-cluster.ts';
import { check } from './uml.ts';

// Runs as root of a machine of its own, on two hosts with an encrypted overlay and a plain one.

const ip = (line: string) => run('ip', ...line.split(' '));
const inside = (netns: string, ...argv: string[]) =>
  execCommand(['nsenter', `--net=/run/netns/${netns}`, ...argv], { timeoutMs: 60_000 });

const key = (byte: number) => byte.toString(16).padStart(2, '0').repeat(20);
const OLD = { id: 1, key: key(0x11) };
const NEW = { id: 2, key: key(0x22) };
const NEWEST = { id: 3, key: key(0x33) };

class Host {
  readonly number: number;
  readonly #overlays: Overlays;

  constructor(number: number) {
    this.number = number;
    ip(`netns add h${number}`);
    ip(`link add wire${number} type veth peer name eth0 netns h${number}`);
    ip(`link set wire${number} master wire up`);
    ip(`-n h${number} addr add 192.0.2.1${number}/24 dev eth0`);
    ip(`-n h${number} link set eth0 up`);
    this.#overlays = new Overlays({
      ...{ exec: execIn(execCommand, undefined, `h${number}`), native: undefined, podmanEnv: [] },
      ...{ naming: createNaming(`h${number}`), clock: systemClock, logger: silentLogger },
      execRoot: '/run/agent',
    });
  }

  async shows(
    keys: readonly (typeof OLD)[],
    { encrypted = true, epochs = ['1', '2'], again = false } = {},
  ): Promise<string[]> {
    const other = 3 - this.number;
    const failures = new Map<string, ApplyFailure>();
    const of = (id: string, vni: number, second: number, secret: boolean) => ({
      ...{ id, mtu: 1400, encrypted: secret },
      segments: [{ vni, subnets: [`10.${second}.0.0/24`], gateways: [`10.${second}.0.1/24`] }],
    });
    const peer = (network: string, address: string) => ({
      ...{ network, addresses: [address], mac: macOf(address), tunnel: `192.0.2.1${other}` },
    });
    await this.#overlays.update(
      clusterIntent(this.number, {
        overlays: [
          ...(encrypted ? [of('secret', 5001, 9, true)] : []),
          of('plain', 5002, 8, false),
        ],
        peers: [peer('secret', `10.9.0.1${other}`), peer('plain', `10.8.0.1${other}`)],
        encryption: {
          epoch: epochs[this.number - 1] ?? '',
          keys,
          peers: encrypted ? [{ tunnel: `192.0.2.1${other}`, epoch: epochs[other - 1] ?? '' }] : [],
        },
      }),
      again,
      failures,
    );
    return [...failures.values()].map(({ message }) => message);
  }

  /** A member of an overlay of this host, called by the overlay and the host. */
  join(network: 'secret' | 'plain', second: number): void {
    const address = `10.${second}.0.1${this.number}`;
    const port = this.#overlays.portFor(network, [address]);
    if (!port) throw new Error(`${network} is not there`);
    const name = `${network}${this.number}`;
    ip(`netns add ${name}`);
    ip(`link add box netns ${port.netns} type veth peer name eth0 netns ${name}`);
    ip(`-n ${port.netns} link set box master ${port.bridge} up`);
    ip(`-n ${name} link set eth0 address ${macOf(address)} mtu 1400 up`);
    ip(`-n ${name} addr add ${address}/24 dev eth0`);
  }

  xfrm(...words: string[]): string {
    return run('nsenter', `--net=/run/netns/h${this.number}`, 'ip', 'xfrm', ...words);
  }
}

async function reaches(network: 'secret' | 'plain', second: number): Promise<boolean> {
  const { code } = await inside(`${network}1`, 'ping', '-c2', '-i0.2', '-W2', `10.${second}.0.12`);
  return code === 0;
}

/** Packets between the hosts: of ESP, and of tunnels in the clear. */
function onWire(): { esp: number; clear: number } {
  const text = run('nft', 'list', 'counters');
  const of = (name: string) =>
    Number(new RegExp(`counter ${name} {\\s*packets (\\d+)`).exec(text)?.[1]);
  return { esp: of('sealed'), clear: of('clear') };
}

/** Packets that the second host has opened. */
function opened(): number {
  const text = run('nsenter', '--net=/run/netns/h2', 'ip', '-s', 'xfrm', 'state', 'list');
  const counts = text.split(/^(?=src )/m).filter((one) => one.startsWith('src 192.0.2.11 '));
  return counts.reduce((sum, one) => sum + Number(/(\d+)\(packets\)/.exec(one)?.[1] ?? 0), 0);
}

ip('link add wire type bridge');
ip('link set wire up');
const [first, second] = [new Host(1), new Host(2)];
const table = `table bridge wire {
  counter sealed {}
  counter clear {}
  chain c {
    type filter hook forward priority 0
    ip protocol esp counter name sealed
    udp dport 4789 counter name clear
  }
}
`;
run('nft', table);
const both = async (keys: readonly (typeof OLD)[], more = {}) => [
  ...(await first.shows(keys, more)),
  ...(await second.shows(keys, more)),
];
const refusals = await both([OLD]);
check('both overlays are set up', refusals.length === 0, refusals.join());
for (const host of [first, second]) {
  host.join('secret', 9);
  host.join('plain', 8);
}
check('members of the plain overlay reach each other', await reaches('plain', 8));
check('nothing of it is encrypted', opened() === 0);
check('members of the encrypted overlay reach each other', await reaches('secret', 9));
check('all of it is encrypted', opened() >= 2, String(opened()));

const before = onWire();
await reaches('secret', 9);
const after = onWire();
check(
  'the wire has ESP alone',
  after.esp >= before.esp + 2 && after.clear === before.clear && before.clear > 0,
  JSON.stringify([before, after]),
);

const pings = inside('secret1', 'ping', '-q', '-i0.02', '-c150', '-W2', '10.9.0.12');
for (const keys of [
  [OLD, NEW],
  [OLD, NEW, NEWEST],
  [NEW, NEWEST],
])
  await both(keys);
const { stdout: counted } = await pings;
check('keys change without a lost packet', / 150 received/.test(counted), counted);
const known = first.xfrm('state', 'list');
check(
  'the oldest key is gone, the one before the newest is sent with',
  /spi 0x03/.test(known) &&
    !/spi 0x02/.test(known) &&
    /dst 192.0.2.12\n\s*proto esp spi 0x03/.test(known),
  known,
);

const reboot = { epochs: ['1 again', '2'] };
first.xfrm('state', 'flush');
first.xfrm('policy', 'flush');
await first.shows([NEW, NEWEST], { ...reboot, again: true });
check('a host that began anew is not yet believed', !(await reaches('secret', 9)));
await second.shows([NEW, NEWEST], reboot);
check('it is when the other knows', await reaches('secret', 9));

first.xfrm('policy', 'flush');
check('what comes in the clear is dropped', !(await reaches('secret', 9)));
await first.shows([NEW, NEWEST], { ...reboot, again: true });
check('what was flushed is put back', await reaches('secret', 9));

await both([], { encrypted: false });
const left = [first, second].map(
  (host) => host.xfrm('state', 'list') + host.xfrm('policy', 'list'),
);
check('nothing stays of it', left.join('').trim() === '', left.join());
check('the plain overlay goes on', await reaches('plain', 8));
console.log('done');
