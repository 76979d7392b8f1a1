import type { Block, Outcome, Reach } from './block.ts';
import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import { accessOf } from './guards.ts';
import { type ListenGroup, listenGroups } from './listens.ts';
import type { VariableMap } from './maps.ts';
import { hostOfName, type ListenerInput, type RouteInput, type ServiceInput } from './matching.ts';
import { proxyTimeouts, retriesOf, upstreamTls } from './proxying.ts';
import { type Services, uniqueName } from './services.ts';
import { listenerSettings } from './settings.ts';
import { listenerTls } from './tls.ts';
import { durationOf } from './values.ts';
import { expandSets, setsOf, soleVariable } from './variables.ts';

/** Translates a `stream` block: a listener for each server. */
export function translateStream(block: Block, outcome: Outcome): void {
  const { servers, findings } = block;
  // An address of TCP is another one than the same of UDP.
  const isUdp = (server: Scope) =>
    named(server.own, 'listen').some(({ args }) => args.includes('udp'));
  for (const udp of [false, true]) {
    const own = servers.filter((server) => isUdp(server) === udp);
    for (const group of listenGroups(own, findings)) {
      new StreamListener(group, block).build(outcome);
    }
  }
}

type Protocol = ListenerInput['protocol'];

class StreamListener {
  readonly #group: ListenGroup;
  readonly #server: Scope;
  readonly #maps: ReadonlyMap<string, VariableMap>;
  readonly #services: Services;
  readonly #reach: Reach;
  readonly #findings: Findings;

  constructor(group: ListenGroup, { maps, services, reach, findings }: Block) {
    this.#group = group;
    this.#server = group.fallback;
    this.#maps = maps;
    this.#services = services;
    this.#reach = reach;
    this.#findings = findings;
  }

  build({ listeners, lines }: Outcome): void {
    const { binds, port, servers, fallback, flags } = this.#group;
    const findings = this.#findings;
    for (const { directive } of servers.filter((one) => one !== fallback)) {
      findings.unsupported(directive, 'another server listens on the address');
    }
    const protocol = this.#protocol();
    const targets = this.#targets(protocol);
    if (!targets) return;
    const { pathOf } = this.#reach;
    const tls =
      protocol === 'tls'
        ? listenerTls([fallback], fallback, undefined, pathOf, findings)
        : undefined;
    const { acceptProxy } = listenerSettings(this.#group, findings);
    const access = accessOf(fallback, findings);
    const name = uniqueName(`${protocol}-${port ?? 'unix'}`, listeners);
    const [bind = ''] = binds;
    listeners.set(name, {
      bind: binds.length === 1 ? bind : [...binds],
      protocol,
      ...(tls === undefined ? {} : { tls }),
      ...(acceptProxy === undefined || !flags.has('proxy_protocol') ? {} : { acceptProxy }),
      ...(access === undefined ? {} : { access }),
      ...targets,
    });
    lines.set(`listeners.${name}`, this.#group.listens[0]?.line ?? 1);
  }

  #protocol(): Protocol {
    const preread = this.#server.find('ssl_preread');
    this.#findings.translated(preread);
    if (this.#group.flags.has('udp')) return 'udp';
    if (this.#group.flags.has('ssl')) return 'tls';
    return preread?.args[0] === 'on' ? 'tls-passthrough' : 'tcp';
  }

  #targets(protocol: Protocol): Pick<ListenerInput, 'service' | 'routes'> | undefined {
    const findings = this.#findings;
    const pass = this.#server.own.find(({ name }) => name === 'proxy_pass');
    if (!pass) {
      const { directive } = this.#server;
      findings.unsupported(directive, 'only servers with `proxy_pass` have an equivalent');
      return undefined;
    }
    const sets = setsOf(this.#server);
    const text = expandSets(pass.args[0] ?? '', sets);
    const map = this.#maps.get(soleVariable(text) ?? '');
    if (map) return this.#mapped(map, pass, protocol);
    const service = text.includes('$') ? undefined : this.#service(text, pass);
    if (service === undefined) {
      findings.unsupported(
        pass,
        'where it leads cannot be told from the file: its listener is left out',
      );
      return undefined;
    }
    findings.translated(pass);
    return { service };
  }

  #mapped(
    map: VariableMap,
    pass: Directive,
    protocol: Protocol,
  ): Pick<ListenerInput, 'service' | 'routes'> | undefined {
    const findings = this.#findings;
    if (map.source !== 'ssl_preread_server_name' || protocol !== 'tls-passthrough') {
      findings.unsupported(map.directive, 'only the server name of TLS can decide');
      findings.unsupported(pass, 'where it leads cannot be told: its listener is left out');
      return undefined;
    }
    findings.translated(map.directive, pass, ...(map.directive.block ?? []));
    const routes: RouteInput[] = [];
    let service: string | undefined;
    for (const { directive, kind, key, value } of map.entries) {
      const names = namesOf(kind, key);
      const target = this.#service(value, pass);
      if (target === undefined || (kind !== 'default' && names.length === 0)) {
        findings.unsupported(
          directive,
          target === undefined
            ? `"${value}" cannot be reached`
            : 'a server name is matched whole, or as `*.name`',
        );
      } else if (kind === 'default') service = target;
      else
        routes.push({
          match: { sni: names.length === 1 ? (names[0] ?? '') : names },
          service: target,
        });
    }
    if (routes.length === 0 && service === undefined) return undefined;
    return {
      ...(service === undefined ? {} : { service }),
      ...(routes.length === 0 ? {} : { routes }),
    };
  }

  #service(target: string, pass: Directive): string | undefined {
    const scope = this.#server;
    const findings = this.#findings;
    const flag = (name: string) => {
      const directive = scope.find(name);
      findings.translated(directive);
      return directive?.args[0] === 'on';
    };
    const timeout = scope.find('proxy_timeout');
    const idle = durationOf(timeout?.args[0]);
    findings.translated(timeout);
    const { timeouts } = proxyTimeouts(scope, 'proxy', findings);
    const whole = { ...timeouts, ...(idle === undefined ? {} : { idle }) };
    const tls = flag('proxy_ssl')
      ? upstreamTls(scope, 'proxy', PLACE, this.#reach.pathOf, findings)
      : undefined;
    const version = scope.find('proxy_protocol_version');
    findings.translated(version);
    const proxyProtocol = version?.args[0] === '2' ? ('v2' as const) : ('v1' as const);
    for (const name of ['proxy_responses', 'proxy_requests']) {
      findings.approximated(scope.find(name), 'a flow ends when it has been idle');
    }
    const settings: Partial<ServiceInput> = {
      ...(Object.keys(whole).length === 0 ? {} : { timeouts: whole }),
      ...(flag('proxy_protocol') ? { proxyProtocol } : {}),
      ...(tls === undefined ? {} : { tls }),
      // What answers datagrams need not take connections.
      ...(this.#group.flags.has('udp') ? { health: false as const } : {}),
      ...this.#retries(target),
    };
    return this.#services.take(target, undefined, settings, pass);
  }

  /** Here `proxy_next_upstream` is a switch. */
  #retries(target: string): Pick<ServiceInput, 'retries'> {
    const scope = this.#server;
    const on = scope.find('proxy_next_upstream');
    this.#findings.translated(on);
    if (on?.args[0] === 'off') return { retries: false };
    if (!scope.find('proxy_next_upstream_tries')) return {};
    const retries = retriesOf(scope, 'proxy', this.#services.size(target), this.#findings);
    if (retries === undefined || retries === false) return retries === false ? { retries } : {};
    return { retries: { attempts: retries.attempts, on: ['connect-failure'] } };
  }
}

const PLACE = { scheme: 'http', port: undefined, serverName: undefined, sets: new Map() } as const;

/** The names of a line of a map, as `match.sni` has them; none: there is no such form. */
function namesOf(kind: string, key: string): string[] {
  const plain = key.replace(/^\*?\./, '');
  if (kind === 'regex' || kind === 'default' || hostOfName(plain) === undefined) return [];
  if (key.startsWith('*.')) return [key];
  return key.startsWith('.') ? [plain, `*.${plain}`] : [key];
}
