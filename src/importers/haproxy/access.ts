import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { conjunctions, Inexpressible } from './formula.ts';
import type { ProxySection, Work } from './proxy.ts';
import { ruleSource } from './rule-source.ts';
import { splitRule } from './rules.ts';
import type { Statement } from './sections.ts';

type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];
type Access = { readonly allow: readonly string[] | undefined; readonly deny: readonly string[] };

/**
 * Rules that let connections in by their address, as `access`: who is refused, and, after an
 * `accept` of some and a `reject` of the rest, who is let in.
 */
export function accessOf(frontend: ProxySection, work: Work): Pick<ListenerInput, 'access'> {
  const { statements } = frontend;
  const rules = statements.all(
    'tcp-request connection',
    'tcp-request session',
    'tcp-request content',
  );
  let access: Access = { allow: undefined, deny: [] };
  let accepted: readonly string[] = [];
  for (const statement of rules) {
    try {
      const read = readRule(statement, frontend, work);
      if (read === undefined) continue;
      if (read.kind === 'end') {
        if (accepted.length > 0 && read.rejects) access = narrowed(access, accepted);
        else if (read.rejects) access = { ...access, deny: ['0.0.0.0/0', '::/0'] };
        break;
      }
      if (read.kind === 'accept') accepted = [...accepted, ...read.source];
      else if (accepted.length > 0) throw new Inexpressible('it stands after an accept of others');
      else if (read.kind === 'reject')
        access = { ...access, deny: [...access.deny, ...read.source] };
      else access = narrowed(access, read.source);
    } catch (error) {
      if (!(error instanceof Inexpressible)) throw error;
      work.reporter.unsupported(statement.text, statement.line, error.message);
    }
  }
  const { allow, deny } = access;
  if (!allow && deny.length === 0) return {};
  return {
    access: { ...(allow && { allow: [...allow] }), ...(deny.length > 0 && { deny: [...deny] }) },
  };
}

function narrowed(access: Access, allow: readonly string[]): Access {
  if (access.allow) throw new Inexpressible('who may come in is said once');
  return { ...access, allow };
}

type Rule =
  | { readonly kind: 'accept' | 'reject' | 'rejectOthers'; readonly source: readonly string[] }
  /** Decides about everybody who is left. */
  | { readonly kind: 'end'; readonly rejects: boolean };

/** What a rule says of addresses; undefined: nothing that is not so anyway. */
function readRule(statement: Statement, frontend: ProxySection, work: Work): Rule | undefined {
  const situation = { encrypted: false, ports: [] };
  const source = ruleSource(frontend, { work, situation });
  const { words, condition } = splitRule(statement.words.slice(2), source);
  const [action = ''] = words;
  if (/^(track-sc\d|set-var|capture|unset-var)/.test(action)) return undefined;
  if (action !== 'accept' && action !== 'reject' && action !== 'silent-drop') {
    throw new Inexpressible(`connections have no ${action}`);
  }
  const rejects = action !== 'accept';
  const cases = conjunctions(condition);
  if (cases.length === 0) return undefined;
  const [first] = cases;
  const { match = {}, not = [], demands = [] } = first ?? {};
  const bare = Object.keys(match).length === 0 && not.length === 0 && demands.length === 0;
  // Accepting everybody now leaves to the rules of content what they would be asked anyway.
  if (bare) return rejects ? { kind: 'end', rejects } : undefined;
  const keys = cases.flatMap((one) => [...Object.keys(one.match), ...one.not.flatMap(Object.keys)]);
  if (keys.some((key) => key !== 'source') || demands.length > 0) {
    if (!rejects) return undefined;
    throw new Inexpressible('connections are let in by their address only');
  }
  const blocks = cases.flatMap((one) => one.match.source ?? []);
  if (not.length === 0) return { kind: rejects ? 'reject' : 'accept', source: blocks };
  if (cases.length > 1 || blocks.length > 0 || !rejects) {
    throw new Inexpressible('the addresses cannot be told as those let in and those refused');
  }
  const others = not.map((one) => one.source ?? []);
  return { kind: 'rejectOthers', source: others.flat() };
}
