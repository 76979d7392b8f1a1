import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { type Conjunction, conjunctions, Inexpressible } from './formula.ts';
import type { ProxySection, Work } from './proxy.ts';
import { ruleSource } from './rule-source.ts';
import { splitRule } from './rules.ts';
import type { Statement } from './sections.ts';

type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];
type Access = { readonly allow: readonly string[] | undefined; readonly deny: readonly string[] };

/** Who gets in at a listener. */
export type Admission = {
  readonly access: ListenerInput['access'];
  /** Only connections that begin with a ClientHello. */
  readonly tlsOnly: boolean;
  /** Most connections of one client at the same time. */
  readonly maxPerSource: number | undefined;
};

const RULES = ['tcp-request connection', 'tcp-request session', 'tcp-request content'];

/**
 * Rules that let connections in by their address: who is refused, and, after an `accept` of some
 * and a `reject` of the rest, who is let in.
 */
export function admissionOf(frontend: ProxySection, work: Work): Admission {
  const reader = new AdmissionReader(frontend, work);
  for (const keyword of RULES) reader.read(frontend.statements.all(keyword));
  const { allow, deny } = reader.access;
  const { tlsOnly, maxPerSource } = reader;
  if (!allow && deny.length === 0) return { access: undefined, tlsOnly, maxPerSource };
  const access = {
    ...(allow && { allow: [...allow] }),
    ...(deny.length > 0 && { deny: [...deny] }),
  };
  return { access, tlsOnly, maxPerSource };
}

class AdmissionReader {
  access: Access = { allow: undefined, deny: [] };
  tlsOnly = false;
  maxPerSource: number | undefined;
  readonly #frontend: ProxySection;
  readonly #work: Work;
  /** Whom the rules before have let in. */
  #accepted: readonly string[] = [];
  /** They have let in some who are not known by address. */
  #unclear = false;
  #tls = false;

  constructor(frontend: ProxySection, work: Work) {
    this.#frontend = frontend;
    this.#work = work;
  }

  /** Reads the rules of one keyword, of which the first that fits decides. */
  read(statements: readonly Statement[]): void {
    this.#accepted = [];
    this.#unclear = false;
    this.#tls = false;
    for (const statement of statements) {
      try {
        if (this.#rule(statement)) break;
      } catch (error) {
        if (!(error instanceof Inexpressible)) throw error;
        this.#unclear ||= statement.words.includes('accept');
        this.#work.reporter.unsupported(statement.text, statement.line, error.message);
      }
    }
  }

  /** Whether the rule decides about everybody who is left. */
  #rule(statement: Statement): boolean {
    const read = readRule(statement, this.#frontend, this.#work);
    if (read === undefined) return false;
    if (read.kind === 'hello') {
      if (read.rejectsOthers) this.tlsOnly = true;
      else this.#tls = true;
    } else if (read.kind === 'connections') {
      const why = 'each worker counts for itself, and all connections of the listener';
      this.#work.reporter.approximated(statement.text, statement.line, why);
      this.maxPerSource = read.above;
    } else if (read.kind === 'accept') this.#accepted = [...this.#accepted, ...read.source];
    else if (read.kind === 'end') this.#end(read.rejects);
    else if (this.#accepted.length > 0 || this.#unclear || this.#tls) {
      throw new Inexpressible('it stands after an accept of others');
    } else if (read.kind === 'reject') {
      this.access = { ...this.access, deny: [...this.access.deny, ...read.source] };
    } else this.access = narrowed(this.access, read.source);
    return read.kind === 'end';
  }

  #end(rejects: boolean): void {
    if (!rejects) return;
    if (this.#unclear) throw new Inexpressible('it stands after an accept that is left out');
    if (this.#tls && this.#accepted.length === 0) this.tlsOnly = true;
    else if (this.#tls) throw new Inexpressible('who may come in is told by address or by TLS');
    else if (this.#accepted.length > 0) this.access = narrowed(this.access, this.#accepted);
    else this.access = { ...this.access, deny: ['0.0.0.0/0', '::/0'] };
  }
}

function narrowed(access: Access, allow: readonly string[]): Access {
  if (access.allow) throw new Inexpressible('who may come in is said once');
  return { ...access, allow };
}

type Rule =
  | { readonly kind: 'accept' | 'reject' | 'rejectOthers'; readonly source: readonly string[] }
  /** Lets in who begins with a ClientHello, or refuses who does not. */
  | { readonly kind: 'hello'; readonly rejectsOthers: boolean }
  /** Refuses a client that has more connections. */
  | { readonly kind: 'connections'; readonly above: number }
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
  if (bare) return { kind: 'end', rejects };
  const asked = cases.length === 1 ? demandRule(cases[0], rejects) : undefined;
  if (asked) return asked;
  const keys = cases.flatMap((one) => [...Object.keys(one.match), ...one.not.flatMap(Object.keys)]);
  if (keys.some((key) => key !== 'source') || demands.length > 0) {
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

/** What a rule asks of a connection beside its address; undefined: nothing that can be told. */
function demandRule(one: Conjunction | undefined, rejects: boolean): Rule | undefined {
  const [asked, ...more] = one?.demands ?? [];
  if (!one || !asked || more.length > 0 || one.not.length > 0) return undefined;
  const { demand, negated } = asked;
  const others = Object.keys(one.match).filter((key) => key !== 'sni').length > 0;
  if (demand.kind === 'hello' && rejects === negated && !others) {
    return { kind: 'hello', rejectsOthers: rejects };
  }
  const bare = Object.keys(one.match).length === 0;
  if (demand.kind !== 'connections' || !rejects || negated || !bare) return undefined;
  return { kind: 'connections', above: demand.above };
}
