import type { ImportIo, ImportResult } from '../report.ts';
import { Reporter } from '../report.ts';
import { readSections } from './sections.ts';

/** Translates a haproxy.cfg. Source: HAProxy 2.6 configuration manual. */
export function importHaproxy(text: string, file: string, io: ImportIo): ImportResult {
  const reporter = new Reporter(file);
  const sections = readSections(text, io.env, reporter);
  for (const { statements } of sections) {
    for (const { text: directive, line } of statements) {
      reporter.unsupported(directive, line, 'is not translated');
    }
  }
  return { config: {}, report: reporter.report, errors: reporter.errors, lines: new Map() };
}
