import { posix } from 'node:path';
import { didYouMean } from '../../base/did-you-mean.ts';
import { unreadable } from '../../base/unreadable.ts';
import type { ImportIo, ImportResult } from '../report.ts';
import { type Outcome, readBlock } from './block.ts';
import { type Directive, Scope } from './directive.ts';
import { rowOf } from './directive-table.ts';
import { Findings } from './findings.ts';
import { translateHttp } from './http.ts';
import { type Context, isKnown, isKnownAnywhere, namesIn } from './known-directives.ts';
import { parse } from './parser.ts';
import { translateStream } from './stream.ts';

/**
 * Translates an nginx.conf with all that it includes. Relative paths are those of its directory.
 * Source: nginx documentation, "Alphabetical index of directives".
 */
export function importNginx(text: string, file: string, io: ImportIo): ImportResult {
  const findings = new Findings();
  const { directives, errors, missing } = parse(text, file, io);
  for (const { at, message } of errors) findings.error(at, message);
  for (const one of missing) {
    if (/(^|\/)(mime\.types|[a-z]+_params)$/.test(one.args[0] ?? '')) findings.translated(one);
    else {
      const path = posix.resolve(posix.dirname(file), one.args[0] ?? '');
      findings.unsupported(one, unreadable('the file', path, io));
    }
  }
  const outcome: Outcome = { listeners: new Map(), services: new Map(), lines: new Map() };
  if (errors.length === 0) {
    const main = new Scope(topLevel(directives));
    const pathOf = (path: string) => posix.resolve(posix.dirname(file), path);
    const read = (one: Directive) => readBlock(main.inner(one), outcome, { io, pathOf }, findings);
    for (const one of main.own) {
      if (one.name === 'http') translateHttp(read(one), outcome);
      if (one.name === 'stream') translateStream(read(one), outcome);
    }
    judgeRest(main.own, 'main', findings);
  }
  const { listeners, services, lines } = outcome;
  const config = {
    ...(listeners.size === 0 ? {} : { listeners: Object.fromEntries(listeners) }),
    ...(services.size === 0 ? {} : { services: Object.fromEntries(services) }),
  };
  return { config, report: findings.report, errors: findings.errors, lines };
}

/** A file of `conf.d`, which stands within `http`, is read as if it did. */
function topLevel(directives: readonly Directive[]): readonly Directive[] {
  const inner = ['server', 'upstream', 'map', 'location', 'limit_req_zone', 'geo'];
  const [first] = directives.filter(({ name }) => inner.includes(name));
  if (!first || directives.some(({ name }) => name === 'http' || name === 'events'))
    return directives;
  const block =
    first.name === 'location'
      ? [{ ...first, name: 'server', args: [], block: directives }]
      : directives;
  return [{ ...first, name: 'http', args: [], block }];
}

/** Blocks whose lines are no directives. */
const DATA = ['map', 'geo', 'types', 'split_clients', 'charset_map', 'match', 'keyval_zone'];

function innerContext(directive: Directive, context: Context): Context | undefined {
  const { name } = directive;
  if (name === 'events' || name === 'http' || name === 'stream' || name === 'mail') return name;
  if (name === 'upstream') return context === 'stream' ? 'stream-upstream' : 'upstream';
  return DATA.includes(name) || name.endsWith('_by_lua_block') ? undefined : context;
}

/** Says of every directive that nothing has been said of yet what becomes of it. */
function judgeRest(directives: readonly Directive[], context: Context, findings: Findings): void {
  for (const one of directives) {
    if (!findings.has(one)) judge(one, context, findings);
    const inner = innerContext(one, context);
    if (one.block && inner) judgeRest(one.block, inner, findings);
  }
}

function judge(one: Directive, context: Context, findings: Findings): void {
  const { name } = one;
  const row = rowOf(name);
  if (['http', 'stream', 'include'].includes(name)) findings.translated(one);
  else if (!isKnown(name, context)) {
    const reason = isKnownAnywhere(name)
      ? 'it cannot stand here'
      : `there is no directive of this name${didYouMean(name, namesIn(context))}`;
    findings.unsupported(one, reason);
  } else if (row?.as === 'needless') findings.translated(one);
  else if (name === 'gzip' && one.args[0] === 'off') findings.translated(one);
  else if (row?.as === 'missing') findings.unsupported(one, row.sluice);
  else if (row) findings.approximated(one, 'it has no effect on what has been translated');
  else findings.unsupported(one, 'Sluice has nothing of the kind');
}
