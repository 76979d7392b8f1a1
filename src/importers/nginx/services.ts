import type { Outcome } from './block.ts';
import type { Directive } from './directive.ts';
import type { Findings } from './findings.ts';
import type { ServiceInput } from './matching.ts';
import { addressOf, upstreamService } from './upstreams.ts';

const MAX_NAME = 63;

/** A name as our configuration takes it. */
export function nameOf(text: string): string {
  const name = text.replaceAll(/[^\w.-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return (name === '' ? 'x' : name).slice(0, MAX_NAME);
}

/** A name that no other has: the text, or the text and a number. */
export function uniqueName(text: string, taken: { has(name: string): boolean }): string {
  const base = nameOf(text);
  for (let number = 1; ; number++) {
    const end = number === 1 ? '' : `-${number}`;
    const name = base.slice(0, MAX_NAME - end.length) + end;
    if (!taken.has(name)) return name;
  }
}

/** The services of a configuration: one for each upstream and way to use it. */
export class Services {
  readonly #upstreams: ReadonlyMap<string, Directive>;
  readonly #findings: Findings;
  readonly #outcome: Outcome;
  readonly #names = new Map<string, string>();

  constructor(upstreams: ReadonlyMap<string, Directive>, findings: Findings, outcome: Outcome) {
    this.#upstreams = upstreams;
    this.#findings = findings;
    this.#outcome = outcome;
  }

  /** Whether a name is that of an `upstream`. */
  has(target: string): boolean {
    return this.#upstreams.has(target);
  }

  /** How many servers stand behind a target. */
  size(target: string): number {
    return this.#upstreams.get(target)?.block?.filter(({ name }) => name === 'server').length ?? 1;
  }

  /**
   * The name of the service for an upstream or an address with these settings; `port` is that of
   * addresses without one. Undefined: there is nothing that could be reached.
   */
  take(
    target: string,
    port: number | undefined,
    settings: Partial<ServiceInput>,
    from: Directive,
  ): string | undefined {
    const upstream = this.#upstreams.get(target);
    const address = upstream ? undefined : addressOf(target, port);
    const base = upstream
      ? upstreamService(upstream, port ?? 80, this.#findings)
      : address && { endpoints: [address] };
    if (!base || base.endpoints?.length === 0) return undefined;
    const service = { ...base, ...settings };
    const key = `${target} ${JSON.stringify(service)}`;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const { services, lines } = this.#outcome;
    const name = uniqueName(target.replace(/^unix:\/?/, ''), services);
    services.set(name, service);
    this.#names.set(key, name);
    lines.set(`services.${name}`, (upstream ?? from).line);
    return name;
  }
}
