import { stringify } from 'yaml';
import { FORMATS, recognise } from '../importers/catalog.ts';
import type { ImportResult, ReportEntry } from '../importers/report.ts';
import type { Diagnostic } from './diagnostics.ts';
import type { ConfigIo } from './io.ts';
import type { SourceText } from './source-text.ts';

/** A foreign file as a source of ours, with what deserves a look. */
export type ForeignSource = {
  readonly source: SourceText | undefined;
  readonly diagnostics: Diagnostic[];
  readonly warnings: Diagnostic[];
};

/** Reads another program's configuration; undefined when the file is none. */
export function parseForeign(file: string, text: string, io: ConfigIo): ForeignSource | undefined {
  const format = recognise(file, text);
  return format && foreignSource(file, FORMATS[format].read(text, file, io));
}

/** What an importer made of a file, as a source of ours. */
export function foreignSource(file: string, result: ImportResult): ForeignSource {
  const { config, errors, report, lines } = result;
  return {
    source: {
      file,
      value: config,
      locate: (path) => ({ line: lineOf(lines, path), column: 1 }),
      substituted: () => false,
    },
    diagnostics: errors.map((entry) => diagnostic(entry)),
    warnings: [
      ...report.approximated.map((entry) => diagnostic(entry)),
      ...report.unsupported.map((entry) => diagnostic(entry, 'left out: ')),
    ],
  };
}

/** The line of the nearest object that has one. */
function lineOf(lines: ReadonlyMap<string, number>, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(path.slice(0, length).map(String).join('.'));
    if (line !== undefined) return line;
  }
  return 1;
}

function diagnostic({ file, line, directive, reason }: ReportEntry, what = ''): Diagnostic {
  const message = `${what}${directive}${reason === undefined ? '' : `: ${reason}`}`;
  return { file, line, column: 1, path: '', message };
}

/** A configuration as YAML that reads back as the same: a `$` that is meant is written twice. */
export function toYaml(config: ImportResult['config']): string {
  const literal = (value: unknown): unknown => {
    if (typeof value === 'string') return value.replaceAll(/\$(?=[${])/g, '$$$$');
    if (Array.isArray(value)) return value.map(literal);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, literal(one)]));
  };
  return stringify(literal(config), { lineWidth: 100, aliasDuplicateObjects: false });
}
