import { createHash } from 'node:crypto';

const VETH_DIGITS = 11;
const SHORT_ID = 12;
const LINK_CHARS = 15;
const MESH = '-mesh';

/** What a host's objects are called and how ours are told from others'. */
export type Naming = {
  /** The firewall table. */
  readonly table: string;
  /** A sandbox's network namespace. */
  readonly netns: (sandbox: string) => string;
  readonly netnsPrefix: string;
  /** An overlay's network namespace. */
  readonly overlay: (network: string) => string;
  readonly overlayPrefix: string;
  /** The link of the routing mesh. */
  readonly mesh: string;
  /** The host's end of an attachment. */
  readonly veth: (attachment: string) => string;
  /** Alias of a link that we made. */
  readonly tag: (kind: 'net' | 'ep' | 'vx', id: string) => string;
  /** Alias of a link that somebody else made for an attachment, and that carried another name. */
  readonly lentTag: (attachment: string, source: string) => string;
  /** What a link of somebody else was called before it moved; undefined: it is not such a one. */
  readonly lentName: (alias: string | undefined) => string | undefined;
  /** What an alias of ours names; undefined when it is not ours. */
  readonly tagged: (alias: string | undefined) => { kind: string; id: string } | undefined;
};

/** Several agents can share a host when their prefixes differ: none is another's beginning. */
export function createNaming(prefix: string): Naming {
  const digest = (text: string) => createHash('sha256').update(`${prefix}:${text}`).digest('hex');
  return {
    table: prefix,
    netnsPrefix: `${prefix}-`,
    netns: (sandbox) => `${prefix}-${sandbox.slice(0, SHORT_ID)}`,
    overlayPrefix: `${prefix}.`,
    overlay: (network) => `${prefix}.${digest(network).slice(0, SHORT_ID)}`,
    mesh: `${prefix.slice(0, LINK_CHARS - MESH.length)}${MESH}`,
    veth: (attachment) => `veth${digest(attachment).slice(0, VETH_DIGITS)}`,
    tag: (kind, id) => `${prefix}:${kind}:${id}`,
    lentTag: (attachment, source) => `${prefix}:lent:${attachment}:${source}`,
    lentName: (alias) => {
      const [owner, kind, , source] = alias?.split(':') ?? [];
      return owner === prefix && kind === 'lent' ? source : undefined;
    },
    tagged: (alias) => {
      const [owner, kind, id] = alias?.split(':') ?? [];
      return owner === prefix && kind && id ? { kind, id } : undefined;
    },
  };
}
