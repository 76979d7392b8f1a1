import { redirectStep, requestStep, responseStep, statusAnswer } from './actions.ts';
import { pagesOf } from './error-pages.ts';
import {
  ALWAYS,
  both,
  type Conditions,
  type Conjunction,
  conjunctions,
  type Demand,
  Inexpressible,
} from './formula.ts';
import type { ProxySection, Work } from './proxy.ts';
import { ruleSource } from './rule-source.ts';
import {
  type Edits,
  type Ending,
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
import { isEmpty } from './values.ts';

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
    const steps = [...this.#stepsOf(this.#frontend), ...this.#choices()];
    this.#monitor();
    this.#walk(steps, 0, ALWAYS, NO_EDITS, (guard, edits) => this.#default(guard, edits));
    const last = this.#routes.at(-1);
    const bare = last && Object.keys(last).every((key) => key === 'service');
    if (!bare) return { routes: this.#routes, service: undefined };
    return { routes: this.#routes.slice(0, -1), service: last.service };
  }

  #monitor(): void {
    const [path] = this.#frontend.statements.words('monitor-uri');
    if (path === undefined || this.#frontend.mode !== 'http') return;
    const body = '<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n';
    const headers = { 'content-type': 'text/html', 'cache-control': 'no-cache' };
    this.#routes.push({ match: { path: [path] }, respond: { status: 200, body, headers } });
  }

  /** What a section's own rules do, in the order in which HAProxy asks them. */
  #stepsOf(proxy: ProxySection): Step[] {
    const known = this.#steps.get(proxy);
    if (known) return known;
    const { statements, mode } = proxy;
    const steps: Step[] = [];
    if (mode === 'http') {
      const source = ruleSource(proxy, this.#target);
      const read = (list: Statement[], reader: ReadStep) => {
        for (const statement of list) this.#read(statement, () => reader(statement, source), steps);
      };
      // Before what may end a request, so that every answer has them.
      read(statements.all('http-response', 'http-after-response'), responseStep);
      read(statements.all('http-request'), requestStep);
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

  #read(statement: Statement, read: () => Step | undefined, steps: Step[]): void {
    try {
      const step = read();
      if (!step) return;
      conjunctions(step.condition);
      steps.push(step);
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
    const source = ruleSource(this.#frontend, this.#target);
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
      const { page } = ruleSource(section, this.#target);
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
      if ((path ?? regex ?? addPrefix) !== undefined && cases.some(asksPath)) {
        throw new Inexpressible('the path that it asks for has been rewritten by a rule before');
      }
      return cases.flatMap((one) => both(guard, one) ?? []);
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
    else if (demand.demand.kind === 'rate' && !demand.negated) {
      const rate = ruleSource(this.#frontend, this.#target).rate(demand.demand.table);
      if (!rate) throw new Inexpressible('what it counts is not known: a table and a track rule');
      const { perMs, by } = rate;
      const rateLimit = { requests: demand.demand.above, per: `${perMs}ms`, by };
      if (step.end.respond?.status !== 429) {
        const { text, line } = step.statement;
        this.#target.work.reporter.approximated(text, line, 'what is above the limit gets 429');
      }
      next(withoutDemands(guard), { ...edits, rest: { ...edits.rest, rateLimit } });
    } else throw new Inexpressible('only `http-request auth` can ask for users');
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
    const users = ruleSource(this.#frontend, this.#target).users(demand.demand.userlist);
    if (typeof users === 'string') throw new Inexpressible(users);
    const realm = step.realm?.replaceAll('\\ ', ' ');
    const basicAuth = realm === undefined ? { users } : { realm, users };
    next(withoutDemands(guard), { ...edits, rest: { ...edits.rest, basicAuth } });
  }

  #push(guard: Conjunction, edits: Edits, end: Ending): void {
    if (guard.demands.length > 0) throw new Inexpressible('users and rates are not asked here');
    const not = guard.not.length > 0 ? { not: single(guard.not.map(shortened)) } : {};
    const match = { ...shortened(guard.match), ...not };
    const headers = {
      ...(isWritten(edits.request) && { request: written(edits.request) }),
      ...(isWritten(edits.response) && { response: written(edits.response) }),
    };
    // Own answers have no use for what is done to a request on its way.
    const { rewrite, timeouts, errorPages, ...rest } = edits.rest;
    const sent = end.service !== undefined;
    const kept = sent ? headers : { ...(headers.response && { response: headers.response }) };
    // exempt(as): conditions are what the configuration writes, but for being read-only.
    const route = {
      ...(!isEmpty(match) && { match }),
      ...rest,
      ...(sent && rewrite && { rewrite }),
      ...(sent && timeouts && { timeouts }),
      ...(sent && errorPages && { errorPages }),
      ...(!isEmpty(kept) && { headers: kept }),
      ...end,
    } as RouteInput;
    this.#routes.push(route);
  }
}

type ReadStep = (statement: Statement, source: RuleSource) => Step | undefined;

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

function demandOf(guard: Conjunction): { demand: Demand; negated: boolean } | undefined {
  if (guard.demands.length > 1) throw new Inexpressible('it asks for several things at once');
  return guard.demands[0];
}

function withoutDemands(guard: Conjunction): Conjunction {
  return { ...guard, demands: [] };
}

function isWritten({ set, add, remove }: FieldEdits): boolean {
  return !isEmpty(set) || !isEmpty(add) || remove.length > 0;
}

function written({ set, add, remove }: FieldEdits) {
  return {
    ...(!isEmpty(set) && { set: { ...set } }),
    ...(!isEmpty(add) && { add: { ...add } }),
    ...(remove.length > 0 && { remove: [...remove] }),
  };
}
