import { redirectStep, requestStep, responseStep, statusAnswer } from './actions.ts';
import { pagesOf } from './error-pages.ts';
import {
  ALWAYS,
  both,
  type Conditions,
  type Conjunction,
  conjunctions,
  type Demand,
  type Formula,
  Inexpressible,
  TRUE,
} from './formula.ts';
import { modernRule, OLD_REQUEST, OLD_RESPONSE } from './legacy.ts';
import type { ProxySection, Work } from './proxy.ts';
import { ruleSource } from './rule-source.ts';
import {
  type Edits,
  type Ending,
  editFields,
  type FieldEdits,
  NO_EDITS,
  type RouteInput,
  type RuleSource,
  type Step,
  splitRule,
} from './rules.ts';
import type { Statement } from './sections.ts';
import { statsSteps } from './stats.ts';
import { readUseBackend } from './use-backend.ts';
import { forwardedField, isEmpty, KNOWN_FORWARDS } from './values.ts';

/** Routes of one listener at most; more come from conditions that multiply. */
const MAX_ROUTES = 2000;

/** Where a frontend's requests go. */
export type Routing = {
  readonly routes: RouteInput[];
  /** Takes what no route takes. */
  readonly service: string | undefined;
};

/** What a frontend's rules are compiled for. */
export type Target = {
  readonly work: Work;
  readonly situation: RuleSource['situation'];
  /** The service of a backend; undefined: it has no servers. */
  readonly serviceOf: (backend: string) => string | undefined;
};

/**
 * The rules of a frontend, and of the backends that they lead to, as routes: each case of a
 * condition is a route, and the first that matches takes a request, as the first rule that ends it
 * does. A rule that changes requests of some makes two cases of all that come after it.
 */
export function compileRoutes(frontend: ProxySection, target: Target): Routing {
  return new RouteCompiler(frontend, target).run();
}

class RouteCompiler {
  readonly #target: Target;
  readonly #frontend: ProxySection;
  readonly #routes: RouteInput[] = [];
  readonly #steps = new Map<ProxySection, Step[]>();

  constructor(frontend: ProxySection, target: Target) {
    this.#frontend = frontend;
    this.#target = target;
  }

  run(): Routing {
    const steps = [...this.#monitor(), ...this.#stepsOf(this.#frontend), ...this.#choices()];
    this.#walk(steps, 0, ALWAYS, NO_EDITS, (guard, edits) => this.#default(guard, edits));
    const last = this.#routes.at(-1);
    const bare = last && Object.keys(last).every((key) => key === 'service');
    if (!bare) return { routes: this.#routes, service: undefined };
    return { routes: this.#routes.slice(0, -1), service: last.service };
  }

  /** The answers to `monitor-uri`: bad ones while a `monitor fail` holds, else good ones. */
  #monitor(): Step[] {
    const { statements, mode } = this.#frontend;
    const statement = statements.last('monitor-uri');
    const [, path] = statement?.words ?? [];
    if (!statement || path === undefined || mode !== 'http') return [];
    const source = this.#source(this.#frontend);
    const asked: Formula = { kind: 'conditions', conditions: { path: [path] } };
    const steps: Step[] = [];
    for (const fail of statements.all('monitor fail')) {
      const reader = (): Step => {
        const { condition } = splitRule(fail.words.slice(2), source);
        const end = { respond: statusAnswer(503, source) };
        const both: Formula = { kind: 'and', parts: [asked, condition] };
        return { statement: fail, condition: both, kind: 'end', end };
      };
      this.#read(fail, reader, steps);
    }
    const body = '<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n';
    const headers = { 'content-type': 'text/html', 'cache-control': 'no-cache' };
    const end = { respond: { status: 200, body, headers } };
    return [...steps, { statement, condition: asked, kind: 'end', end }];
  }

  /** What rules of a section are read with; what a frontend has set, its backends know. */
  #source(proxy: ProxySection): RuleSource {
    const own = ruleSource(proxy, this.#target);
    if (proxy === this.#frontend) return own;
    const outer = ruleSource(this.#frontend, this.#target);
    return {
      ...own,
      variable: (name) => own.variable(name) ?? outer.variable(name),
      assignments: (name) => {
        const inner = own.assignments(name);
        return inner.length > 0 ? inner : outer.assignments(name);
      },
      captured: (slot) => outer.captured(slot) ?? own.captured(slot),
      tracking: (counter) => own.tracking(counter) ?? outer.tracking(counter),
      rate: (demand) => own.rate(demand) ?? outer.rate(demand),
    };
  }

  /** What a section's own rules do, in the order in which HAProxy asks them. */
  #stepsOf(proxy: ProxySection): Step[] {
    const known = this.#steps.get(proxy);
    if (known) return known;
    const { statements, mode } = proxy;
    const steps: Step[] = [];
    if (mode === 'http') {
      const source = this.#source(proxy);
      const read = (list: Statement[], reader: ReadStep) => {
        for (const one of list.map(modernRule)) {
          this.#read(one, () => reader(one, source), steps);
        }
      };
      steps.push(...addedFields(proxy));
      // Before what may end a request, so that every answer has them.
      read(statements.all('http-response', 'http-after-response', ...OLD_RESPONSE), responseStep);
      read(statements.all('http-request', ...OLD_REQUEST), requestStep);
      apart(steps);
      read(statements.all('redirect'), redirectStep);
      this.#readAll(proxy, () => statsSteps(proxy, source), steps);
    }
    this.#steps.set(proxy, steps);
    return steps;
  }

  #readAll(proxy: ProxySection, read: () => Step[], steps: Step[]): void {
    try {
      steps.push(...read());
    } catch (error) {
      this.#leaveOut(proxy.statements.last('stats admin') ?? proxy.head, error);
    }
  }

  #read(statement: Statement, read: () => Step | readonly Step[] | undefined, steps: Step[]): void {
    try {
      const made = [read() ?? []].flat();
      for (const step of made) {
        if (conjunctions(step.condition).some(asksStatus)) {
          throw new Inexpressible('the answer is not known yet');
        }
      }
      steps.push(...made);
    } catch (error) {
      this.#leaveOut(statement, error);
    }
  }

  /** Says that a rule is left out because of what was thrown; anything else is thrown on. */
  #leaveOut({ text, line }: Statement, error: unknown): void {
    if (!(error instanceof Inexpressible)) throw error;
    this.#target.work.reporter.unsupported(text, line, error.message);
  }

  #choices(): Step[] {
    const steps: Step[] = [];
    const source = this.#source(this.#frontend);
    for (const statement of this.#frontend.statements.all('use_backend')) {
      try {
        const { words, condition } = splitRule(statement.words.slice(1), source);
        const cases = readUseBackend(words[0] ?? '', source);
        for (const { backend, when } of cases) {
          const formula = { kind: 'and', parts: [condition, when] } as const;
          conjunctions(formula);
          steps.push({ statement, condition: formula, kind: 'backend', backend });
        }
      } catch (error) {
        this.#leaveOut(statement, error);
      }
    }
    return steps;
  }

  #default(guard: Conjunction, edits: Edits): void {
    const { statements } = this.#frontend;
    const statement = statements.last('default_backend');
    const backend = statement?.words[1];
    if (backend !== undefined) this.#enter(backend, statement, guard, edits);
    else this.#serve(this.#frontend, guard, edits);
  }

  /** On into a backend: its rules, then its service. */
  #enter(name: string, statement: Statement | undefined, guard: Conjunction, edits: Edits): void {
    const { work } = this.#target;
    const backend = work.proxies.find((one) => one.name === name && one.kind !== 'frontend');
    if (!backend) {
      const { text, line } = statement ?? this.#frontend.head;
      work.reporter.error(text, line, `there is no backend "${name}"`);
      return;
    }
    // A `listen` that is its own backend has been through its rules.
    const steps = backend === this.#frontend ? [] : this.#stepsOf(backend);
    this.#walk(steps, 0, guard, edits, (rest, done) => this.#serve(backend, rest, done));
  }

  /** The end of the rules of a section, which has a service or not. */
  #serve(section: ProxySection, guard: Conjunction, edits: Edits): void {
    const service = this.#target.serviceOf(section.name);
    const { work } = this.#target;
    const http = this.#frontend.mode === 'http';
    if (service !== undefined && section.kind !== 'frontend') {
      const [own, outer] = [section, this.#frontend].map((one) => pagesOf(one.statements, work));
      const pages = http && JSON.stringify(own) !== JSON.stringify(outer) ? own : undefined;
      const rest = pages && !isEmpty(pages) ? { ...edits.rest, errorPages: pages } : edits.rest;
      this.#push(guard, { ...edits, rest }, { service });
    } else if (http) {
      const { page } = this.#source(section);
      this.#push(guard, edits, { respond: statusAnswer(503, { page }) });
    }
  }

  #walk(
    steps: readonly Step[],
    at: number,
    guard: Conjunction,
    edits: Edits,
    after: (guard: Conjunction, edits: Edits) => void,
  ): void {
    const step = steps[at];
    if (!step) {
      after(guard, edits);
      return;
    }
    if (this.#routes.length >= MAX_ROUTES) {
      throw new Inexpressible(`its conditions make more than ${MAX_ROUTES} routes`);
    }
    const next = (inner: Conjunction, done: Edits, from = at + 1) =>
      this.#walk(steps, from, inner, done, after);
    let exhausted = false;
    for (const one of this.#cases(step, guard, edits)) {
      exhausted ||= JSON.stringify(withoutDemands(one)) === JSON.stringify(guard);
      const took = this.#take(step, one, edits, (inner, done) =>
        next(inner, done, skip(steps, at)),
      );
      if (!took) exhausted = false;
    }
    if (!exhausted) next(guard, edits);
  }

  /** Carries a step out in one case of its condition; false: it is left out. */
  #take(
    step: Step,
    guard: Conjunction,
    edits: Edits,
    next: (guard: Conjunction, edits: Edits) => void,
  ): boolean {
    try {
      if (step.kind === 'end') this.#end(step, guard, edits, next);
      else if (step.kind === 'edit') next(guard, step.edit(edits));
      else if (step.kind === 'allow') next(guard, edits);
      else if (step.kind === 'admit') this.#admit(step, guard, edits, next);
      else this.#enter(step.backend, step.statement, guard, edits);
      return true;
    } catch (error) {
      this.#leaveOut(step.statement, error);
      return false;
    }
  }

  #cases(step: Step, guard: Conjunction, edits: Edits): Conjunction[] {
    try {
      const cases = conjunctions(step.condition);
      const { path, regex, addPrefix } = edits.rest.rewrite ?? {};
      const rewritten = (path ?? regex ?? addPrefix) !== undefined;
      return cases.flatMap((one) => {
        const joined = both(guard, one);
        if (joined && rewritten && asksPath(one)) {
          throw new Inexpressible('the path that it asks for has been rewritten by a rule before');
        }
        return joined ? [withoutHello(joined)] : [];
      });
    } catch (error) {
      this.#leaveOut(step.statement, error);
      return [];
    }
  }

  /** An answer; or, when its condition is a rate, a limit for what comes after it. */
  #end(
    step: Step & { kind: 'end' },
    guard: Conjunction,
    edits: Edits,
    next: (guard: Conjunction, edits: Edits) => void,
  ): void {
    const demand = demandOf(guard);
    if (!demand) this.#push(guard, edits, step.end);
    else if (demand.negated) throw new Inexpressible('what is below a limit is not asked');
    else next(withoutDemands(guard), { ...edits, rest: this.#limited(step, demand.demand, edits) });
  }

  /** What comes after a rule that refuses what is above a limit. */
  #limited(step: Step & { kind: 'end' }, demand: Demand, { rest }: Edits): Edits['rest'] {
    const { text, line } = step.statement;
    const { reporter } = this.#target.work;
    const { status = 0 } = step.end.respond ?? {};
    if (demand.kind === 'body') {
      if (status !== 413) reporter.approximated(text, line, 'a larger body gets 413');
      return { ...rest, maxBodyBytes: demand.above };
    }
    if (demand.kind !== 'rate') {
      throw new Inexpressible(
        demand.kind === 'auth'
          ? 'only `http-request auth` can ask for users'
          : 'connections of a client are limited by `tcp-request` rules',
      );
    }
    const rate = this.#source(this.#frontend).rate(demand);
    if (!rate) throw new Inexpressible('what it counts is not known: a table and a track rule');
    if (rest.rateLimit) throw new Inexpressible('a route has one limit of requests');
    if (status < 400) reporter.approximated(text, line, 'what is above the limit gets 429');
    const code = status < 400 || status === 429 ? {} : { status };
    return {
      ...rest,
      rateLimit: { requests: demand.above, per: `${rate.perMs}ms`, by: rate.by, ...code },
    };
  }

  #admit(
    step: Step & { kind: 'admit' },
    guard: Conjunction,
    edits: Edits,
    next: (guard: Conjunction, edits: Edits) => void,
  ): void {
    const demand = demandOf(guard);
    if (demand?.demand.kind !== 'auth' || !demand.negated) {
      throw new Inexpressible('who may come in is asked by `if !{ http_auth(LIST) }`');
    }
    const { userlist, groups } = demand.demand;
    const users = this.#source(this.#frontend).users(userlist, groups);
    if (typeof users === 'string') throw new Inexpressible(users);
    const realm = step.realm?.replaceAll('\\ ', ' ');
    const basicAuth = realm === undefined ? { users } : { realm, users };
    next(withoutDemands(guard), { ...edits, rest: { ...edits.rest, basicAuth } });
  }

  #push(guard: Conjunction, edits: Edits, end: Ending): void {
    if (guard.demands.some(({ demand }) => demand.kind === 'hello')) {
      throw new Inexpressible('a port is for TLS, told by server names, or for something else');
    }
    if (guard.demands.length > 0) throw new Inexpressible('users and rates are not asked here');
    const not = guard.not.length > 0 ? { not: single(guard.not.map(shortened)) } : {};
    const match = { ...shortened(guard.match), ...not };
    // Own answers have no use for what is done to a request on its way.
    const { rewrite, timeouts, errorPages, maxBodyBytes, ...rest } = edits.rest;
    const sent = end.service !== undefined;
    const kept = headersOf(edits, sent);
    // exempt(as): conditions are what the configuration writes, but for being read-only.
    const route = {
      ...(!isEmpty(match) && { match }),
      ...rest,
      ...(sent && rewrite && { rewrite }),
      ...(sent && timeouts && { timeouts }),
      ...(sent && errorPages && { errorPages }),
      ...(sent && maxBodyBytes !== undefined && { maxBodyBytes }),
      ...(!isEmpty(kept) && { headers: kept }),
      ...end,
    } as RouteInput;
    this.#routes.push(route);
  }
}

type ReadStep = (statement: Statement, source: RuleSource) => Step | readonly Step[] | undefined;

/** Where to go on after a step: `allow` passes by the rest of the same keyword. */
function skip(steps: readonly Step[], at: number): number {
  const step = steps[at];
  if (step?.kind !== 'allow') return at + 1;
  const keyword = step.statement.words[0];
  const next = steps.findIndex(
    ({ statement }, index) => index > at && statement.words[0] !== keyword,
  );
  return next < 0 ? steps.length : next;
}

function single<T>(items: readonly T[]): T | readonly T[] {
  const [first] = items;
  return items.length === 1 && first !== undefined ? first : items;
}

/** Lists of one as that one. */
function shortened(match: Conditions): object {
  const entries = Object.entries(match);
  return Object.fromEntries(
    entries.map(([key, value]) => [key, Array.isArray(value) ? single(value) : value]),
  );
}

function asksPath({ match, not }: Conjunction): boolean {
  return [match, ...not].some(({ path }) => path !== undefined);
}

const REWRITES = /^(replace-(path|pathq|uri)|set-(path|pathq|uri))$/;

/**
 * Of several rules that rewrite a path, each takes the requests alone whose path begins as its
 * expression does: a route rewrites once.
 */
function apart(steps: Step[]): void {
  const rewriting = steps.filter(({ statement }) => REWRITES.test(statement.words[1] ?? ''));
  if (rewriting.length < 2) return;
  for (const step of rewriting) {
    const [, action = '', first = ''] = step.statement.words;
    const regsub = /^%\[(?:path|url|pathq),regsub\(\(?(.*)\)\]$/.exec(first)?.[1];
    const regex = action.startsWith('replace') ? first : regsub;
    const [, flags = '', start = ''] =
      /^['"]?(\(\?i\))?\^(\/(?:[\w/~-]|\\[.\-/])*)(?![?*{])/.exec(regex ?? '') ?? [];
    if (start === '' || start === '/') continue;
    const path = [{ regex: `${flags}^${start}` }];
    const asked: Formula = { kind: 'conditions', conditions: { path } };
    const condition: Formula = { kind: 'and', parts: [step.condition, asked] };
    steps[steps.indexOf(step)] = { ...step, condition };
  }
}

function asksStatus({ match, not }: Conjunction): boolean {
  return [match, ...not].some(({ status }) => status !== undefined);
}

/** Fields with the client's address or an identifier, which options ask for. */
function addedFields({ statements }: ProxySection): Step[] {
  const forward = statements.last('option forwardfor');
  const name = forwardedField(forward?.words ?? []);
  const id = statements.last('unique-id-header');
  const step = (statement: Statement, how: 'set' | 'add', field: string, value: string): Step => ({
    statement,
    condition: TRUE,
    kind: 'edit',
    edit: (edits) => {
      const request = editFields(edits.request, how, field, value);
      if (!request) throw new Inexpressible(`a field is added once: ${field}`);
      return { ...edits, request };
    },
  });
  return [
    ...(forward && !KNOWN_FORWARDS.includes(name) ? [step(forward, 'add', name, '{client}')] : []),
    ...(id ? [step(id, 'set', id.words[1] ?? '', '{requestId}')] : []),
  ];
}

function demandOf(guard: Conjunction): { demand: Demand; negated: boolean } | undefined {
  if (guard.demands.length > 1) throw new Inexpressible('it asks for several things at once');
  return guard.demands[0];
}

/** Where a server name is asked for, that there is a ClientHello is no question. */
function withoutHello(one: Conjunction): Conjunction {
  if (!one.match.sni) return one;
  const asked = one.demands.filter(({ demand, negated }) => demand.kind !== 'hello' || negated);
  return { ...one, demands: asked };
}

function withoutDemands(guard: Conjunction): Conjunction {
  return { ...guard, demands: [] };
}

/** What is done to fields; own answers are changed by rules for every answer alone. */
function headersOf(edits: Edits, sent: boolean): object {
  const { request, response, byStatus, after, afterByStatus } = edits;
  const some = (all: Edits['byStatus']) =>
    Object.entries(all).map(([status, one]) => ({ ...written(one), status }));
  const responses = [
    ...(sent && isWritten(response) ? [written(response)] : []),
    ...(sent ? some(byStatus) : []),
    ...(isWritten(after) ? [written(after)] : []),
    ...some(afterByStatus),
  ];
  return {
    ...(sent && isWritten(request) && { request: written(request) }),
    ...(responses.length > 0 && { response: single(responses) }),
  };
}

function isWritten({ set, add, remove, replace }: FieldEdits): boolean {
  return !isEmpty(set) || !isEmpty(add) || !isEmpty(replace) || remove.length > 0;
}

function written({ set, add, remove, replace }: FieldEdits) {
  return {
    ...(!isEmpty(replace) && { replace: { ...replace } }),
    ...(!isEmpty(set) && { set: { ...set } }),
    ...(!isEmpty(add) && { add: { ...add } }),
    ...(remove.length > 0 && { remove: [...remove] }),
  };
}
