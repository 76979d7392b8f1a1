import { type Exec, must } from './exec.ts';

/** Which flows of the kernel's connection tracking are meant; what is absent matches all. */
export type FlowFilter = {
  readonly transport: 'tcp' | 'udp' | 'sctp';
  /** Default: that of the addresses; without any IPv4. */
  readonly family?: 4 | 6;
  /** Destination as the client sees it. */
  readonly port?: number;
  readonly address?: string;
  /** Who answers in fact. */
  readonly replySource?: string;
  readonly replyPort?: number;
  /** Flows whose mark is this in the bits of the mask. */
  readonly mark?: FlowMark;
  /** Of its protocol, as `conntrack` names it. */
  readonly state?: string;
};

export type FlowMark = { readonly value: number; readonly mask: number };

/** A tracked flow. */
export type Flow = {
  readonly transport: 'tcp' | 'udp';
  /** Undefined for protocols without states. */
  readonly state: string | undefined;
  readonly mark: number;
  /** Who answers in fact. */
  readonly replySource: string;
  readonly replyPort: number;
};

const FLOW =
  /^(tcp|udp) +\d+ \d+ (?:([A-Z_0-9]+) )?src=\S+ .*? src=(\S+) dst=\S+ sport=(\d+) .*?mark=(\d+)/;
const MAX_LISTING_BYTES = 256 * 1024 * 1024;

function markArgument({ value, mask }: FlowMark): string {
  return `0x${value.toString(16)}/0x${mask.toString(16)}`;
}

/** Flows of a mark, of one family and transport. Rejects when `conntrack` is missing or fails. */
export async function listFlows(
  exec: Exec,
  family: 4 | 6,
  transport: 'tcp' | 'udp',
  mark: FlowMark,
): Promise<Flow[]> {
  const argv = ['conntrack', '-L', '-f', `ipv${family}`, '-p', transport];
  const text = await must(exec, [...argv, '--mark', markArgument(mark)], {
    maxOutputBytes: MAX_LISTING_BYTES,
  });
  return text.split('\n').flatMap((line) => {
    const [, , state, replySource, replyPort, found] = FLOW.exec(line) ?? [];
    if (replySource === undefined) return [];
    return {
      ...{ transport, state, replySource },
      ...{ mark: Number(found), replyPort: Number(replyPort) },
    };
  });
}

const DIRECTION = /src=(\S+) dst=(\S+) sport=\d+ dport=(\d+)/g;

/** Where all flows of one family and transport lead: as asked for, and who answers in fact. */
export async function listDestinations(
  exec: Exec,
  family: 4 | 6,
  transport: FlowFilter['transport'],
): Promise<{ address: string; port: number; replySource: string }[]> {
  const argv = ['conntrack', '-L', '-f', `ipv${family}`, '-p', transport];
  const text = await must(exec, argv, { maxOutputBytes: MAX_LISTING_BYTES });
  return text.split('\n').flatMap((line) => {
    const [asked, answered] = line.matchAll(DIRECTION);
    const [, , address, port] = asked ?? [];
    const [, replySource] = answered ?? [];
    if (address === undefined || replySource === undefined) return [];
    return { address, port: Number(port), replySource };
  });
}

const NOT_FOUND = /0 flow entries/;
/** The kernel forgot a flow of the listing before its turn came; those after it are still there. */
const CUT_SHORT = /Operation failed/;
const MAX_TRIES = 10;

/** The address family of the flows that are meant. */
export function familyOf(filter: FlowFilter): 4 | 6 {
  const address = filter.replySource ?? filter.address ?? '';
  return filter.family ?? (address.includes(':') ? 6 : 4);
}

/**
 * Forgets flows, so that their next packet is forwarded by the rules of now. False when the
 * `conntrack` command is missing or failed.
 */
export async function dropFlows(exec: Exec, filter: FlowFilter): Promise<boolean> {
  const family = familyOf(filter);
  const argv = ['conntrack', '-D', '-f', `ipv${family}`, '-p', filter.transport];
  if (filter.port !== undefined) argv.push('--orig-port-dst', String(filter.port));
  if (filter.address !== undefined) argv.push('--orig-dst', filter.address);
  if (filter.replySource !== undefined) argv.push('--reply-src', filter.replySource);
  if (filter.replyPort !== undefined) argv.push('--reply-port-src', String(filter.replyPort));
  if (filter.mark !== undefined) argv.push('--mark', markArgument(filter.mark));
  if (filter.state !== undefined) argv.push('--state', filter.state);
  try {
    for (let tries = 1; ; tries++) {
      const { code, stderr } = await exec(argv);
      if (code === 0 || NOT_FOUND.test(stderr)) return true;
      if (!CUT_SHORT.test(stderr) || tries >= MAX_TRIES) return false;
    }
  } catch {
    return false;
  }
}
