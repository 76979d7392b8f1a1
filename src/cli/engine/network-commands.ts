import type { Command } from 'commander';
import { SluiceError } from '../../base/errors.ts';
import { table } from '../table.ts';
import {
  collect,
  type EngineContext,
  filterQuery,
  forEach,
  pairs,
  short,
} from './engine-context.ts';

type NetworkRow = { Id: string; Name: string; Driver: string; Scope: string };

type CreateOptions = {
  readonly driver: string;
  readonly subnet?: string[];
  readonly ipRange?: string[];
  readonly gateway?: string[];
  readonly auxAddress?: string[];
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly ipv6?: boolean;
  readonly ipv4?: boolean;
  readonly configOnly?: boolean;
  readonly configFrom?: string;
  readonly ipamDriver: string;
  readonly ipamOpt?: string[];
  readonly opt?: string[];
  readonly label?: string[];
};

type Block = { Subnet?: string; IPRange?: string; Gateway?: string; AuxiliaryAddresses?: object };

function bits(text: string): bigint | undefined {
  const parts = text.split('/')[0]?.split('.') ?? [];
  if (parts.length !== 4) return undefined;
  return parts.reduce((sum, part) => (sum << 8n) | BigInt(part || 0), 0n);
}

/** Whether an address or block lies in a subnet; IPv6 is matched by family alone. */
function within(subnet: string, text: string): boolean {
  if (subnet.includes(':') || text.includes(':')) return subnet.includes(':') && text.includes(':');
  const host = 32n - BigInt(subnet.split('/')[1] ?? 32);
  const [a, b] = [bits(subnet), bits(text)];
  return a !== undefined && b !== undefined && a >> host === b >> host;
}

function blocks({ subnet = [], ipRange = [], gateway = [], auxAddress = [] }: CreateOptions) {
  const list: Block[] = subnet.map((Subnet) => ({ Subnet }));
  const place = (text: string, what: string): Block => {
    const found = list.find(({ Subnet }) => Subnet !== undefined && within(Subnet, text));
    if (found) return found;
    throw new SluiceError('E_REQUEST_INVALID', `no matching subnet for ${what} ${text}`);
  };
  for (const text of ipRange) place(text, 'range').IPRange = text;
  for (const text of gateway) place(text, 'gateway').Gateway = text;
  for (const [name, text] of Object.entries(pairs(auxAddress))) {
    const block = place(text, 'aux-address');
    block.AuxiliaryAddresses = { ...block.AuxiliaryAddresses, [name]: text };
  }
  return list;
}

function addCreate(network: Command, { io, engine }: EngineContext): void {
  network
    .command('create <name>')
    .description('makes a network')
    .option('-d, --driver <name>', 'bridge, macvlan or overlay', 'bridge')
    .option('--subnet <block>', 'subnet of its addresses', collect)
    .option('--ip-range <block>', 'where automatic addresses are taken from', collect)
    .option('--gateway <address>', 'gateway of a subnet', collect)
    .option('--aux-address <name=address>', 'address that is kept back', collect)
    .option('--internal', 'leads nowhere else')
    .option('--attachable', 'containers that are no tasks may join it')
    .option('--no-ipv4', 'without IPv4')
    .option('--ipv6', 'with IPv6')
    .option('--config-only', 'a template for others')
    .option('--config-from <network>', 'takes its configuration from a template')
    .option('--ipam-driver <name>', 'default or null', 'default')
    .option('--ipam-opt <key=value>', 'option of the IPAM driver', collect)
    .option('-o, --opt <key=value>', 'option of the driver', collect)
    .option('--label <key=value>', 'label', collect)
    .action(async (name: string, options: CreateOptions) => {
      const { Id } = await engine().call<{ Id: string }>('POST', '/networks/create', {
        Name: name,
        Driver: options.driver,
        EnableIPv4: options.ipv4,
        EnableIPv6: options.ipv6,
        IPAM: {
          Driver: options.ipamDriver,
          Options: pairs(options.ipamOpt),
          Config: blocks(options),
        },
        Internal: options.internal,
        Attachable: options.attachable,
        ConfigOnly: options.configOnly,
        ConfigFrom: { Network: options.configFrom },
        Options: pairs(options.opt),
        Labels: pairs(options.label),
      });
      io.print(Id);
    });
}

function addViews(network: Command, { io, engine }: EngineContext): void {
  network
    .command('ls')
    .description('networks')
    .option('-f, --filter <key=value>', 'only those that fit', collect)
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .action(async (options: { filter?: string[]; quiet?: boolean; trunc: boolean }) => {
      const query = `filters=${filterQuery(options.filter)}`;
      const found = await engine().call<NetworkRow[]>('GET', `/networks?${query}`);
      const id = ({ Id }: NetworkRow) => (options.trunc ? short(Id) : Id);
      const rows = found
        .sort((a, b) => (a.Name < b.Name ? -1 : 1))
        .map((one) => [id(one), one.Name, one.Driver, one.Scope]);
      if (options.quiet) for (const [first = ''] of rows) io.print(first);
      else io.print(table(['NETWORK ID', 'NAME', 'DRIVER', 'SCOPE'], rows));
    });
  network
    .command('inspect <network...>')
    .description('everything about networks, as JSON')
    .option('-v, --verbose', 'with services and peers')
    .action(async (names: string[], { verbose }: { verbose?: boolean }) => {
      const found: unknown[] = [];
      for (const name of names) {
        const path = `/networks/${encodeURIComponent(name)}?verbose=${verbose ?? false}`;
        found.push(await engine().call('GET', path));
      }
      io.print(JSON.stringify(found, null, 4));
    });
}

type ConnectOptions = {
  readonly ip?: string;
  readonly ip6?: string;
  readonly alias?: string[];
  readonly link?: string[];
  readonly linkLocalIp?: string[];
  readonly gwPriority?: string;
};

function addMembership(network: Command, { engine }: EngineContext): void {
  network
    .command('connect <network> <container>')
    .description('lets a container join a network')
    .option('--ip <address>', 'its IPv4 address')
    .option('--ip6 <address>', 'its IPv6 address')
    .option('--alias <name>', 'one more name there', collect)
    .option('--link <container:alias>', 'a name for another container', collect)
    .option('--link-local-ip <address>', 'a link-local address', collect)
    .option('--gw-priority <number>', 'the highest becomes the gateway')
    .action(async (name: string, container: string, options: ConnectOptions) => {
      await engine().call('POST', `/networks/${encodeURIComponent(name)}/connect`, {
        Container: container,
        EndpointConfig: {
          IPAMConfig: {
            IPv4Address: options.ip,
            IPv6Address: options.ip6,
            LinkLocalIPs: options.linkLocalIp,
          },
          Aliases: options.alias,
          Links: options.link,
          GwPriority: options.gwPriority === undefined ? undefined : Number(options.gwPriority),
        },
      });
    });
  network
    .command('disconnect <network> <container>')
    .description('lets a container leave a network')
    .option('-f, --force', 'kept for compatibility')
    .action(async (name: string, container: string, { force }: { force?: boolean }) => {
      const path = `/networks/${encodeURIComponent(name)}/disconnect`;
      await engine().call('POST', path, { Container: container, Force: force });
    });
}

/** `network …`, as docker's. */
export function addNetworkCommands(program: Command, context: EngineContext): void {
  const network = program.command('network').description('networks of the engine');
  addCreate(network, context);
  addViews(network, context);
  addMembership(network, context);
  network
    .command('rm <network...>')
    .description('removes networks')
    .action((names: string[]) =>
      forEach(context, names, (name) =>
        context.engine().call('DELETE', `/networks/${encodeURIComponent(name)}`),
      ),
    );
  network
    .command('prune')
    .description('removes networks that nobody uses')
    .option('--filter <key=value>', 'only those that fit: until, label, label!', collect)
    .action(async ({ filter }: { filter?: string[] }) => {
      const path = `/networks/prune?filters=${filterQuery(filter)}`;
      const { NetworksDeleted } = await context
        .engine()
        .call<{ NetworksDeleted: string[] }>('POST', path);
      for (const name of NetworksDeleted) context.io.print(name);
    });
}
