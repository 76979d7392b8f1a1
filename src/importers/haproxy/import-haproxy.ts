import { dirname, isAbsolute, join } from 'node:path';
import { unreadable } from '../../base/unreadable.ts';
import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { type ImportIo, type ImportResult, Reporter } from '../report.ts';
import { globalSettings } from './global.ts';
import { backendsOf, type ListenerInput, listenersOf, portsOf } from './listeners.ts';
import {
  type ProxySection,
  readGlobal,
  readProxies,
  reportLeftSections,
  type Work,
} from './proxy.ts';
import { readSections, type Section, type SectionKind } from './sections.ts';
import { hasServers, serviceOf } from './services.ts';

/** Translates a haproxy.cfg. Source: HAProxy 2.6 configuration manual. */
export function importHaproxy(text: string, file: string, io: ImportIo): ImportResult {
  const reporter = new Reporter(file);
  const lines = new Map<string, number>();
  const sections = readSections(text, io.env, reporter);
  const named = (kind: SectionKind) =>
    new Map(sections.filter((one) => one.kind === kind).map((one) => [one.name, one]));
  const work: Work = {
    io,
    reporter,
    global: readGlobal(sections, reporter),
    proxies: readProxies(sections, reporter),
    userlists: named('userlist'),
    resolvers: named('resolvers'),
    pages: named('http-errors'),
    readFile: (path) => {
      const beside = isAbsolute(path) ? undefined : io.readFile(join(dirname(file), path));
      return beside ?? io.readFile(path);
    },
    unreadable: (what, path) => unreadable(what, path, io),
    place: (path, line) => lines.set(path, line),
  };
  reportSupport(sections, reporter);
  reportLeftSections(sections, reporter);
  const config = translate(work);
  return { config, report: reporter.report, errors: reporter.errors, lines };
}

/** Sections that only serve others: their lines are read where they are meant. */
function reportSupport(sections: readonly Section[], reporter: Reporter): void {
  for (const { kind, statements } of sections) {
    for (const { text, line, words } of statements) {
      const [first = ''] = words;
      if (kind === 'userlist') {
        if (first === 'user' || first === 'group') reporter.translated(text, line);
        else reporter.error(text, line, 'is no keyword of a userlist');
      }
      if (kind === 'http-errors') {
        if (first === 'errorfile') reporter.translated(text, line);
        else reporter.unsupported(text, line, 'pages are files');
      }
      if (kind !== 'resolvers') continue;
      const read = first === 'nameserver' || (first === 'hold' && words[1] === 'valid');
      if (read || first === 'parse-resolv-conf') reporter.translated(text, line);
      else reporter.approximated(text, line, 'the last addresses are kept until a name has others');
    }
  }
}

function translate(work: Work): GatewayConfigInput {
  const names = new Names();
  const backends = work.proxies.filter((one) => one.kind !== 'frontend' && hasServers(one));
  const serviceNames = new Map(backends.map((one) => [one.name, names.of('service', one.name)]));
  const frontends = work.proxies.filter((one) => one.kind !== 'backend');
  const services: NonNullable<GatewayConfigInput['services']> = {};
  for (const backend of backends) {
    const name = serviceNames.get(backend.name) ?? backend.name;
    work.place(`services.${name}`, backend.head.line);
    services[name] = serviceOf(backend, name, portsTo(backend, frontends, work), work);
  }
  const listeners: Record<string, ListenerInput> = {};
  for (const frontend of frontends) {
    for (const one of listenersOf(frontend, work, (backend) => serviceNames.get(backend))) {
      const name = names.of('listener', one.name);
      work.place(`listeners.${name}`, one.line);
      listeners[name] = one.listener;
    }
  }
  return { ...globalSettings(work), listeners, services };
}

/** The ports that lead to a backend, for servers that do not say theirs. */
function portsTo(backend: ProxySection, frontends: readonly ProxySection[], work: Work): number[] {
  const leading = frontends.filter((one) => backendsOf(one, work).includes(backend));
  return [...new Set(leading.flatMap((one) => portsOf(one, work)))];
}

const MAX_NAME = 63;

/** Names as the configuration allows them, each once. */
class Names {
  readonly #taken = new Set<string>();

  of(kind: string, wanted: string): string {
    const plain = wanted.replaceAll(/[^\w.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
    const base = plain.slice(0, MAX_NAME) || kind;
    let name = base;
    for (let number = 2; this.#taken.has(`${kind} ${name}`); number++) {
      const end = `-${number}`;
      name = base.slice(0, MAX_NAME - end.length) + end;
    }
    this.#taken.add(`${kind} ${name}`);
    return name;
  }
}
