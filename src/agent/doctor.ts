import { existsSync, readFileSync } from 'node:fs';
import { findCgroups, usableCgroups } from '../kernel/cgroup.ts';
import { COMMAND_PATH, type Exec } from '../kernel/exec.ts';
import { stateLine } from '../kernel/xfrm.ts';
import type { Capability } from '../link/agent-port.ts';
import { type AgentTools, eachOf } from './plane/tools.ts';

type Probe = {
  readonly name: string;
  readonly purpose: string;
  readonly required: boolean;
  /** How to get it. */
  readonly remedy: string;
  /** What was found; undefined: it is not there. */
  readonly find: () => Promise<string | undefined>;
};

function commandPath(name: string): string | undefined {
  return COMMAND_PATH.split(':')
    .map((folder) => `${folder}/${name}`)
    .find((path) => existsSync(path));
}

function command(exec: Exec, name: string, purpose: string, from: string, required = true): Probe {
  return {
    name,
    purpose,
    required,
    remedy: `install the package ${from}`,
    find: async () => {
      const path = commandPath(name);
      if (path === undefined) return undefined;
      const flag = name === 'ip' ? '-V' : '--version';
      const { stdout, code } = await exec([path, flag]);
      return code === 0 ? (stdout.split('\n')[0] ?? path) : path;
    },
  };
}

const WIDTH = 4;
const PROBE_MS = 60_000;

const CAP_NET_ADMIN = 12;
const CAP_SYS_ADMIN = 21;

async function rights(): Promise<string | undefined> {
  const status = readFileSync('/proc/self/status', 'utf8');
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const has = (bit: number) => (mask >> BigInt(bit)) & 1n;
  return has(CAP_NET_ADMIN) && has(CAP_SYS_ADMIN) ? 'CAP_NET_ADMIN, CAP_SYS_ADMIN' : undefined;
}

/** Whether the kernel takes an object; it is only checked (`nft -c`), not made. */
function ruleset(exec: Exec, text: string): () => Promise<string | undefined> {
  return async () => {
    const { code } = await exec(['nft', '-c', '-f', '-'], { input: text });
    return code === 0 ? 'in the kernel' : undefined;
  };
}

/** Whether things of a kind can be made, in a namespace that goes with the command. */
function canMake(exec: Exec, kind: string, line: string): () => Promise<string | undefined> {
  return async () => {
    const argv = ['unshare', '--net', 'ip', '-batch', '-'];
    const { code } = await exec(argv, { input: line });
    return code === 0 ? `${kind} can be made` : undefined;
  };
}

const VXLAN_LINE = 'link add name p0 type vxlan id 1 dstport 4789 local 127.0.0.1 nolearning\n';
const ESP_LINE = `${stateLine({
  ...{ source: '127.0.0.1', destination: '127.0.0.1', spi: 256, reqid: 1 },
  key: '0'.repeat(40),
})}\n`;
const EGRESS = `table netdev sluice_probe { chain c { type filter hook egress device "lo" priority 0;\n}\n}\n`;
const FORWARD = `table netdev sluice_probe { chain c { type filter hook ingress device "lo" priority 0; fib daddr type local fwd ip to 127.0.0.2 device "lo"\n}\n}\n`;

function kernelProbes(exec: Exec): Probe[] {
  const nat = `table inet sluice_probe { chain c { type nat hook prerouting priority -105; fib daddr type local dnat ip to meta l4proto . th dport map { tcp . 1 : 127.0.0.1 . 1 }\n}\n}\n`;
  const spread = `table inet sluice_probe { chain c { meta mark set numgen inc mod 2; meta mark set jhash ip saddr mod 2\n}\n}\n`;
  const kernel = 'a kernel with the option, or the module loaded';
  const link = (kind: string, purpose: string, line: string, required: boolean): Probe => ({
    name: `kernel: ${kind}`,
    purpose,
    required,
    remedy: `${kernel} (modprobe ${kind.replace('vlan (802.1q)', '8021q')})`,
    find: canMake(exec, `${kind} links`, line),
  });
  return [
    {
      name: 'kernel: nftables nat',
      purpose: 'publishing, masquerade, isolation',
      required: true,
      remedy: `${kernel}: nf_tables, nft_chain_nat, nft_masq, nft_fib_inet`,
      find: ruleset(exec, nat),
    },
    {
      name: 'kernel: nftables numgen and hash',
      purpose: 'several targets behind one port',
      required: true,
      remedy: `${kernel}: nft_numgen, nft_hash`,
      find: ruleset(exec, spread),
    },
    link(
      'veth',
      'joining sandboxes to networks',
      'link add name p0 type veth peer name p1\n',
      true,
    ),
    link('vxlan', 'overlays and the routing mesh of a cluster', VXLAN_LINE, false),
    {
      name: 'kernel: nftables egress hook',
      purpose: 'the routing mesh of a cluster',
      required: false,
      remedy: 'a kernel from 5.16 with the option CONFIG_NETFILTER_EGRESS',
      find: ruleset(exec, EGRESS),
    },
    {
      name: 'kernel: nftables forwarding at ingress',
      purpose: 'services whose tasks answer clients directly',
      required: false,
      remedy: `${kernel}: nft_fwd_netdev, nft_fib_netdev`,
      find: ruleset(exec, FORWARD),
    },
    link('bridge', 'bridge networks', 'link add name p0 type bridge\n', true),
    link(
      'macvlan',
      'macvlan networks',
      'link add name p0 type veth peer name p1\nlink add link p0 name p2 type macvlan mode bridge\n',
      false,
    ),
    link(
      'vlan (802.1q)',
      'macvlan networks on a VLAN',
      'link add name p0 type veth peer name p1\nlink add link p0 name p0.2 type vlan id 2\n',
      false,
    ),
    {
      name: 'kernel: ESP with AES-GCM',
      purpose: 'encrypted overlays',
      required: false,
      remedy: `${kernel}: xfrm_user, esp4, esp6, gcm`,
      find: canMake(exec, 'associations of that kind', ESP_LINE),
    },
    link('dummy', 'macvlan networks without a parent', 'link add name p0 type dummy\n', false),
  ];
}

/** Packets that we accept may still meet a policy of others. */
async function othersPolicy(exec: Exec): Promise<string | undefined> {
  const { code, stdout } = await exec(['nft', '-a', 'list', 'chain', 'ip', 'filter', 'FORWARD']);
  if (code !== 0 || !stdout.includes('policy drop')) return 'nothing stands in the way';
  if (
    stdout.includes('0x7067') ||
    (await exec(['nft', 'list', 'ruleset'])).stdout.includes('0x00007067/')
  ) {
    return 'the drop policy of the chain FORWARD lets our packets pass';
  }
  return undefined;
}

function hostProbes(tools: AgentTools): Probe[] {
  const { exec } = tools;
  return [
    {
      name: 'koffi',
      purpose: 'terminals, sockets that outlive the agent, fast resolvers',
      required: false,
      remedy: 'npm install --include=optional',
      find: async () => (tools.native ? 'loaded' : undefined),
    },
    {
      name: 'control groups',
      purpose: 'limits, pause and figures of tasks',
      required: false,
      remedy: 'mount cgroup2 on /sys/fs/cgroup, writable',
      find: async () => {
        const found = usableCgroups(findCgroups(), tools.naming.table);
        return found && `version ${found.version}`;
      },
    },
    {
      name: 'forwarding policy of others',
      purpose: 'published ports beside Docker, firewalld or another firewall',
      required: false,
      remedy:
        'let packets with our mark pass: iptables -I FORWARD -m mark --mark 0x7067/0xffff -j ACCEPT (beside Docker the agent does so itself in DOCKER-USER)',
      find: () => othersPolicy(exec),
    },
  ];
}

/** Looks at everything that the agent needs of the host; changes nothing. */
export async function probeHost(host: AgentTools): Promise<Capability[]> {
  // What is slow is not missing.
  const exec: Exec = (argv, options) => host.exec(argv, { timeoutMs: PROBE_MS, ...options });
  const tools = { ...host, exec };
  const probes: Probe[] = [
    {
      name: 'privileges',
      purpose: 'everything',
      required: true,
      remedy: 'run the agent as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN',
      find: rights,
    },
    command(exec, 'nft', 'the firewall table', 'nftables'),
    command(exec, 'ip', 'links, addresses, routes', 'iproute2'),
    command(exec, 'ss', 'naming who holds a port', 'iproute2', false),
    command(exec, 'conntrack', 'cutting flows to targets that are gone', 'conntrack', false),
    command(exec, 'nsenter', 'tasks', 'util-linux'),
    command(exec, 'unshare', 'tasks', 'util-linux'),
    command(exec, 'setpriv', 'tasks without privileges', 'util-linux'),
    command(exec, 'ps', 'listing the processes of a task', 'procps', false),
    command(exec, 'podman', 'tasks of images', 'podman', false),
    ...kernelProbes(exec),
    ...hostProbes(tools),
  ];
  const found = new Map<Probe, string | undefined>();
  await eachOf(probes, WIDTH, async (probe) => {
    found.set(probe, await probe.find().catch(() => undefined));
  });
  return probes.map((probe) => {
    const { name, purpose, required, remedy } = probe;
    const detail = found.get(probe);
    return { name, purpose, required, available: detail !== undefined, detail: detail ?? remedy };
  });
}
