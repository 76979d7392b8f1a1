import { type Exec, must } from './exec.ts';

/** A security association by what makes two of them the same. Source: ip-xfrm(8) */
export type XfrmState = {
  readonly source: string;
  readonly destination: string;
  /** 256 to 2^32 - 1. */
  readonly spi: number;
  readonly reqid: number;
  /** Key and salt of AES-128-GCM, 20 bytes in hex. */
  readonly key: string;
};

/** A rule that asks for an association, or without `spi` and `reqid` refuses. */
export type XfrmPolicy = {
  readonly direction: 'in' | 'out';
  /** With prefix lengths. */
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly priority: number;
  /** Undefined: packets are dropped. */
  readonly reqid: number | undefined;
  /** The one association that is used; undefined: any of `reqid`. */
  readonly spi: number | undefined;
};

const UDP = 17;
const AEAD = 'rfc4106(gcm(aes))';
const ICV_BITS = 128;
const REPLAY_WINDOW = 128;

const hex = (spi: number) => `0x${spi.toString(16).padStart(8, '0')}`;

/** Associations of this namespace that carry this request id. */
export async function readStates(exec: Exec, reqid: number): Promise<XfrmState[]> {
  const text = await must(exec, ['ip', 'xfrm', 'state', 'list']);
  return text.split(/^(?=src )/m).flatMap((part) => {
    const ends = /^src (\S+) dst (\S+)/.exec(part);
    const ids = /spi (0x[0-9a-f]+)(?:\(\d+\))? reqid (\d+)/.exec(part);
    const key = /aead \S+ 0x([0-9a-f]+)/.exec(part);
    if (!ends || Number(ids?.[2]) !== reqid) return [];
    const [, source = '', destination = ''] = ends;
    return [{ source, destination, spi: Number(ids?.[1]), reqid, key: key?.[1] ?? '' }];
  });
}

/** Policies of this namespace about packets to this UDP port. */
export async function readPolicies(exec: Exec, port: number): Promise<XfrmPolicy[]> {
  const text = await must(exec, ['ip', 'xfrm', 'policy', 'list']);
  return text.split(/^(?=src )/m).flatMap((part): XfrmPolicy[] => {
    const ends = /^src (\S+) dst (\S+) proto (?:udp|17) dport (\d+)/.exec(part);
    const rule = /dir (in|out) (?:action (\S+) )?priority (\d+)/.exec(part);
    if (!ends || !rule || Number(ends[3]) !== port) return [];
    const [, source = '', destination = ''] = ends;
    const template = /proto esp (?:spi (0x[0-9a-f]+)(?:\(\d+\))? )?reqid (\d+)/.exec(part);
    const spi = template?.[1] === undefined ? undefined : Number(template[1]);
    return [
      {
        direction: rule[1] === 'in' ? 'in' : 'out',
        ...{ source, destination, port, priority: Number(rule[3]) },
        reqid: template ? Number(template[2]) : undefined,
        spi: spi === 0 ? undefined : spi,
      },
    ];
  });
}

/** Line of `ip` that makes an association: ESP around what is there, AES-GCM, 64-bit numbers. */
export function stateLine({ source, destination, spi, reqid, key }: XfrmState): string {
  const ends = `src ${source} dst ${destination} proto esp spi ${hex(spi)} reqid ${reqid}`;
  const cipher = `aead "${AEAD}" 0x${key} ${ICV_BITS}`;
  return `xfrm state add ${ends} mode transport ${cipher} replay-window ${REPLAY_WINDOW} flag esn`;
}

export function dropStateLine({ source, destination, spi }: XfrmState): string {
  return `xfrm state delete src ${source} dst ${destination} proto esp spi ${hex(spi)}`;
}

const selector = ({ source, destination, port, direction }: XfrmPolicy) =>
  `src ${source} dst ${destination} proto ${UDP} dport ${port} dir ${direction}`;

/** Line of `ip` that makes a policy or changes the one that is there. */
export function policyLine(policy: XfrmPolicy): string {
  const { source, destination, priority, reqid, spi } = policy;
  const head = `xfrm policy update ${selector(policy)}`;
  if (reqid === undefined) return `${head} action block priority ${priority}`;
  const ends = [source, destination].map((one) => one.split('/')[0]);
  const chosen = spi === undefined ? '' : ` spi ${hex(spi)}`;
  const ask = `src ${ends[0]} dst ${ends[1]} proto esp${chosen} reqid ${reqid} mode transport`;
  return `${head} priority ${priority} tmpl ${ask}`;
}

export function dropPolicyLine(policy: XfrmPolicy): string {
  return `xfrm policy delete ${selector(policy)}`;
}
