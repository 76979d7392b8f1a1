import { posix } from 'node:path';
import { unreadable } from '../../base/unreadable.ts';
import type { ImportIo } from '../report.ts';
import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { Location } from './locations.ts';
import type { RouteInput } from './matching.ts';

/** The files of error pages, and the locations that exist for them. */
export type ErrorPages = {
  /** Files by the location that serves them. */
  readonly locations: Map<Directive, string>;
  /** The pages that hold at a place. */
  of(scope: Scope): RouteInput['errorPages'];
};

/** `error_page CODE… /FILE` where a location of that file alone says which one it is. */
export function errorPagesOf(
  locations: readonly Location[],
  io: ImportIo,
  pathOf: (file: string) => string,
  findings: Findings,
): ErrorPages {
  const files = new Map<Directive, string>();
  const fileOf = (uri: string): { directive: Directive; file: string } | undefined => {
    const location = locations.find(({ kind, pattern }) => kind === '=' && pattern === uri);
    if (!location) return undefined;
    const root = location.scope.find('root');
    const alias = location.scope.own.find(({ name }) => name === 'alias');
    const path = alias ? alias.args[0] : posix.join(root?.args[0] ?? 'html', uri);
    return { directive: location.directive, file: pathOf(path ?? '') };
  };
  const pagesOf = (one: Directive): [string, { file: string }][] => {
    const uri = one.args.at(-1) ?? '';
    const codes = one.args.slice(0, -1);
    const found = codes.every((code) => /^[45]\d\d$/.test(code)) ? fileOf(uri) : undefined;
    if (!found) {
      findings.unsupported(one, 'only a file that a location names gets a page');
      return [];
    }
    if (io.readFile(found.file) === undefined) {
      findings.approximated(
        one,
        `${unreadable(found.file, found.file, io)}: Sluice answers with a page of its own`,
      );
      return [];
    }
    files.set(found.directive, found.file);
    if (one === undefined) return [];
    findings.translated(one);
    return codes.map((code) => [code, { file: found.file }]);
  };
  const of = (scope: Scope) => {
    const pages = Object.fromEntries(scope.all('error_page').flatMap(pagesOf));
    return Object.keys(pages).length === 0 ? undefined : pages;
  };
  return { locations: files, of };
}
