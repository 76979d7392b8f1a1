import { SluiceError } from '../base/errors.ts';
import { COMMAND_TIMEOUT_MS, type Exec, must } from './exec.ts';

/** A network link as `ip` shows it. */
export type Link = {
  readonly name: string;
  readonly index: number;
  readonly kind: string | undefined;
  readonly mtu: number;
  readonly mac: string;
  readonly up: boolean;
  readonly alias: string | undefined;
  /** Name of the bridge that it is a port of. */
  readonly master: string | undefined;
  /** With prefix length, those of every scope. */
  readonly addresses: readonly string[];
  /** As a port of a bridge. */
  readonly hairpin: boolean;
  readonly isolated: boolean;
};

/** A line of a batch with the object that it is for. */
export type OwnedLine = { readonly owner: string; readonly line: string };

/** A default route or one to a prefix. */
export type Route = {
  readonly destination: string;
  readonly gateway: string;
  readonly link: string;
};

type RawLink = {
  ifname?: string;
  ifindex?: number;
  flags?: string[];
  mtu?: number;
  address?: string;
  ifalias?: string;
  master?: string;
  linkinfo?: {
    info_kind?: string;
    info_slave_data?: { hairpin?: boolean; isolated?: boolean };
  };
  addr_info?: { local?: string; prefixlen?: number }[];
};

type RawRoute = { dst?: string; gateway?: string; dev?: string };

const MAX_BATCH_TIMEOUT_MS = 60_000;
const TIMEOUT_PER_LINE_MS = 20;

function toLink(raw: RawLink): Link[] {
  if (raw.ifname === undefined) return [];
  return [
    {
      name: raw.ifname,
      index: raw.ifindex ?? 0,
      kind: raw.linkinfo?.info_kind,
      mtu: raw.mtu ?? 0,
      mac: raw.address ?? '',
      up: raw.flags?.includes('UP') ?? false,
      alias: raw.ifalias,
      master: raw.master,
      addresses: (raw.addr_info ?? []).flatMap(({ local, prefixlen }) =>
        local === undefined ? [] : [`${local}/${prefixlen}`],
      ),
      hairpin: raw.linkinfo?.info_slave_data?.hairpin ?? false,
      isolated: raw.linkinfo?.info_slave_data?.isolated ?? false,
    },
  ];
}

/**
 * Links, addresses and routes by iproute2. `namespace` is a name below /run/netns; undefined is
 * the namespace of this process.
 */
export class IpTool {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  #argv(namespace: string | undefined, ...rest: string[]): string[] {
    return namespace === undefined ? ['ip', ...rest] : ['ip', '-n', namespace, ...rest];
  }

  async links(namespace?: string): Promise<Link[]> {
    const text = await must(this.#exec, this.#argv(namespace, '-j', '-d', 'addr', 'show'));
    // exempt(as): what `ip -j` prints; every field is taken as perhaps missing
    return (JSON.parse(text || '[]') as RawLink[]).flatMap(toLink);
  }

  /** Those of the main table, of both families. */
  async routes(namespace?: string): Promise<Route[]> {
    const texts = await Promise.all(
      ['-4', '-6'].map((family) =>
        must(this.#exec, this.#argv(namespace, family, '-j', 'route', 'show')),
      ),
    );
    return texts.flatMap((text) =>
      // exempt(as): what `ip -j` prints; every field is taken as perhaps missing
      (JSON.parse(text || '[]') as RawRoute[]).map(({ dst, gateway, dev }) => ({
        destination: dst ?? '',
        gateway: gateway ?? '',
        link: dev ?? '',
      })),
    );
  }

  /** The link that packets to an address leave by; undefined without a route. */
  async linkTowards(address: string): Promise<{ link: string; direct: boolean } | undefined> {
    const { code, stdout } = await this.#exec(['ip', '-j', 'route', 'get', address]);
    if (code !== 0) return undefined;
    // exempt(as): what `ip -j` prints; every field is taken as perhaps missing
    const [route] = JSON.parse(stdout || '[]') as RawRoute[];
    if (route?.dev === undefined) return undefined;
    return { link: route.dev, direct: route.gateway === undefined };
  }

  /** Runs lines of `ip` commands in order, all of them; rejects with the first error. */
  async run(lines: readonly string[], namespace?: string): Promise<void> {
    const owned = lines.map((line) => ({ owner: line, line }));
    const [error] = (await this.batch(owned, namespace)).values();
    if (error !== undefined) throw new SluiceError('E_AGENT_COMMAND', error);
  }

  /**
   * Runs lines of `ip` commands in order, all of them, also after one has failed. Returns the
   * first error of each owner that had one; not atomic.
   */
  async batch(lines: readonly OwnedLine[], namespace?: string): Promise<Map<string, string>> {
    const errors = new Map<string, string>();
    if (lines.length === 0) return errors;
    const timeoutMs = Math.min(
      MAX_BATCH_TIMEOUT_MS,
      COMMAND_TIMEOUT_MS + lines.length * TIMEOUT_PER_LINE_MS,
    );
    const argv = this.#argv(namespace, '-force', '-batch', '-');
    const input = `${lines.map(({ line }) => line).join('\n')}\n`;
    const { code, stderr } = await this.#exec(argv, { input, timeoutMs });
    if (code === 0) return errors;
    for (const [, said, at] of stderr.matchAll(/([\s\S]*?)Command failed -:(\d+)\n?/g)) {
      const failed = lines[Number(at) - 1];
      if (!failed || errors.has(failed.owner)) continue;
      errors.set(failed.owner, `ip ${failed.line}: ${said?.trim()}`);
    }
    if (errors.size === 0) throw new SluiceError('E_AGENT_COMMAND', `ip -batch: ${stderr.trim()}`);
    return errors;
  }
}
