import type { Exec } from './exec.ts';

/** Which flows of the kernel's connection tracking are meant; what is absent matches all. */
export type FlowFilter = {
  readonly transport: 'tcp' | 'udp' | 'sctp';
  /** Destination as the client sees it. */
  readonly port?: number;
  readonly address?: string;
  /** Who answers in fact. */
  readonly replySource?: string;
};

const NOT_FOUND = /0 flow entries/;

/**
 * Forgets flows, so that their next packet is forwarded by the rules of now. False when the
 * `conntrack` command is missing or failed.
 */
export async function dropFlows(exec: Exec, filter: FlowFilter): Promise<boolean> {
  const family = (filter.replySource ?? filter.address ?? '').includes(':') ? 'ipv6' : 'ipv4';
  const argv = ['conntrack', '-D', '-f', family, '-p', filter.transport];
  if (filter.port !== undefined) argv.push('--orig-port-dst', String(filter.port));
  if (filter.address !== undefined) argv.push('--orig-dst', filter.address);
  if (filter.replySource !== undefined) argv.push('--reply-src', filter.replySource);
  try {
    const { code, stderr } = await exec(argv);
    return code === 0 || NOT_FOUND.test(stderr);
  } catch {
    return false;
  }
}
