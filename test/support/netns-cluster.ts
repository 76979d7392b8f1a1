import { createHash } from 'node:crypto';
import type { ClusterIntent, OverlayPeer } from '../../src/model/cluster-intent.ts';
import type { NetworkIntent, SandboxIntent } from '../../src/model/host-intent.ts';
import { attachment, bridgeNetwork, type Peer, run, sandbox, TestHost } from './netns.ts';

let clusters = 0;

/**
 * Hosts 192.0.2.11, .12, … (2001:db8:1::11, …) on a bridge in a namespace of the test's own, which
 * is also the router (192.0.2.1) to a client outside: 198.51.100.100 and 2001:db8:2::100.
 */
export class TestCluster {
  readonly router = `slc${process.pid}n${clusters}r`;
  readonly client = `slc${process.pid}n${clusters++}c`;
  readonly hosts: TestHost[] = [];
  readonly #peers = new Map<string, Peer>();

  static async start(size: number): Promise<TestCluster> {
    const cluster = new TestCluster();
    try {
      cluster.#makeNet();
      for (let number = 1; number <= size; number++) {
        cluster.hosts.push(await TestHost.on(cluster.router, number));
      }
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  #makeNet(): void {
    const { router, client } = this;
    for (const name of [router, client]) run('ip', 'netns', 'add', name);
    const lines: [string, string][] = [
      [router, 'link set lo up'],
      [router, 'link add br0 type bridge'],
      [router, 'link set br0 up'],
      [router, 'addr add 192.0.2.1/24 dev br0'],
      [router, 'addr add 2001:db8:1::1/64 dev br0 nodad'],
      [router, `link add c0 type veth peer name eth0 netns ${client}`],
      [router, 'addr add 198.51.100.1/24 dev c0'],
      [router, 'addr add 2001:db8:2::1/64 dev c0 nodad'],
      [router, 'link set c0 up'],
      [client, 'link set lo up'],
      [client, 'addr add 198.51.100.100/24 dev eth0'],
      [client, 'addr add 2001:db8:2::100/64 dev eth0 nodad'],
      [client, 'link set eth0 up'],
      [client, 'route add default via 198.51.100.1'],
      [client, 'route add ::/0 via 2001:db8:2::1'],
    ];
    for (const [name, line] of lines) run('ip', '-n', name, ...line.split(' '));
    const inside = ['nsenter', `--net=/run/netns/${router}`, 'sysctl', '-qw'] as const;
    const [file, ...rest] = inside;
    run(file, ...rest, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  }

  /** A peer in a namespace, by name from now on. */
  async addPeer(name: string, host: TestHost, netns: string): Promise<Peer> {
    const peer = await host.peer(netns);
    this.#peers.set(name, peer);
    return peer;
  }

  peer(name: string): Peer {
    const found = this.#peers.get(name);
    if (!found) throw new Error(`no peer ${name}`);
    return found;
  }

  host(number: number): TestHost {
    const found = this.hosts[number - 1];
    if (!found) throw new Error(`no host ${number}`);
    return found;
  }

  async stop(): Promise<void> {
    for (const host of this.hosts) await host.stop();
    for (const name of [this.router, this.client]) {
      try {
        run('ip', 'netns', 'delete', name);
      } catch {
        // It was not made.
      }
    }
  }
}

export const id = (text: string) => createHash('sha256').update(text).digest('hex');

/** The network of an overlay, as sandboxes join it. */
export function overlayNetwork(name: string, subnets: readonly string[]): NetworkIntent {
  return bridgeNetwork(name, subnets, {
    ...{
      id: id(name),
      driver: 'overlay',
      link: '',
      mtu: 1450,
      gateways: [],
      masquerade: false,
      ruled: true,
    },
  });
}

export const macOf = (address: string) =>
  `02:42:${address
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join(':')}`;

/** The bridge by which members of overlays reach the outside, and published ports them. */
export function gatewayBridge(): NetworkIntent {
  return bridgeNetwork('gw', ['172.18.0.0/16', 'fd00:18::/64'], {
    ...{ link: 'docker_gwbridge', icc: false },
  });
}

/** A sandbox on an overlay and, with a number, on the gateway bridge. */
export function member(
  name: string,
  overlay: NetworkIntent,
  addresses: readonly string[],
  gateway?: number,
): SandboxIntent {
  const inside = attachment(name, overlay, addresses, 'eth0', []);
  const bridge = gatewayBridge();
  const outside =
    gateway === undefined
      ? []
      : [
          attachment(
            ...([name, bridge] as const),
            [`172.18.0.${gateway}/16`, `fd00:18::${gateway}/64`],
            'eth1',
          ),
        ];
  return sandbox(name, [{ ...inside }, ...outside], { id: id(name) });
}

export function peerOf(network: NetworkIntent, host: number, address: string): OverlayPeer {
  const tunnel = `192.0.2.1${host}`;
  return { network: network.id, addresses: [address], mac: macOf(address), tunnel };
}

export function clusterIntent(host: number, changes: Partial<ClusterIntent>): ClusterIntent {
  return {
    tunnel: { local: `192.0.2.1${host}`, port: 4789 },
    ...{ overlays: [], peers: [], vips: [], admissions: [], mesh: undefined },
    encryption: { epoch: `${host}`, keys: [], peers: [] },
    ...changes,
  };
}
