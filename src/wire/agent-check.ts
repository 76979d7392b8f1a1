/** Most bytes of an agent's line. */
export const MAX_AGENT_REPLY_BYTES = 1024;

/** What an agent asks for; what it does not name stays as it was. */
export type AgentReply = {
  /** `up` takes a `down` back, `ready` a `drain` or `maint`. */
  readonly health?: 'up' | 'down';
  readonly order?: 'ready' | 'drain' | 'maint';
  /** Relative: a share of the configured weight, 1 for all of it. */
  readonly weight?: { readonly kind: 'absolute' | 'relative'; readonly value: number };
  /** 0: as configured. */
  readonly maxConnections?: number;
  /** What follows `#`, without control characters; '' without one. */
  readonly description: string;
};

/** The line so far: more wanted, what it says, or why it says nothing. */
export type AgentReplyResult =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'value'; readonly reply: AgentReply }
  | { readonly kind: 'error'; readonly reason: 'too-long' | 'empty' | 'no-known-word' };

type Mutable = { -readonly [K in keyof AgentReply]: AgentReply[K] };

/**
 * Reads one line of the agent-check text protocol: words apart by blanks or commas, in any case,
 * up to a line end or the end of the stream. Words that are not known are passed over, so that an
 * agent may say more than this reader knows. Source: HAProxy configuration manual, `agent-check`.
 */
export function decodeAgentReply(bytes: Buffer, ended: boolean): AgentReplyResult {
  const text = bytes.toString('latin1');
  const end = text.search(/[\r\n]/);
  if ((end < 0 ? text.length : end) > MAX_AGENT_REPLY_BYTES) return failed('too-long');
  if (end < 0 && !ended) return { kind: 'need-more' };
  const line = end < 0 ? text : text.slice(0, end);
  const hash = line.indexOf('#');
  const words = (hash < 0 ? line : line.slice(0, hash)).split(/[ \t,]+/).filter(Boolean);
  if (words.length === 0) return failed('empty');
  const description =
    hash < 0
      ? ''
      : line
          .slice(hash + 1)
          .replace(/[^ -~]+/g, ' ')
          .trim();
  const reply: Mutable = { description };
  let known = 0;
  for (const word of words) if (takeWord(reply, word.toLowerCase())) known++;
  return known > 0 ? { kind: 'value', reply } : failed('no-known-word');
}

function failed(reason: 'too-long' | 'empty' | 'no-known-word'): AgentReplyResult {
  return { kind: 'error', reason };
}

function takeWord(reply: Mutable, word: string): boolean {
  switch (word) {
    case 'up':
      reply.health = 'up';
      return true;
    case 'down':
    case 'fail':
    case 'stopped':
      reply.health = 'down';
      return true;
    case 'ready':
    case 'drain':
    case 'maint':
      reply.order = word;
      return true;
    default:
      return takeNumber(reply, word);
  }
}

function takeNumber(reply: Mutable, word: string): boolean {
  const parts = /^(weight:|maxconn:)?(\d{1,9})(%)?$/.exec(word);
  if (!parts) return false;
  const [, key, digits, percent] = parts;
  const number = Number(digits);
  if (key === 'maxconn:') {
    if (percent) return false;
    reply.maxConnections = number;
    return true;
  }
  if (!key && !percent) return false;
  reply.weight = percent
    ? { kind: 'relative', value: number / 100 }
    : { kind: 'absolute', value: number };
  return true;
}
