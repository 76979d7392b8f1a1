import { importHaproxy } from './haproxy/import-haproxy.ts';
import { importNginx } from './nginx/import-nginx.ts';
import type { Importer } from './report.ts';

/** A kind of foreign file: how it is recognised, and who reads it. */
type Format = {
  readonly name: RegExp;
  /** What a first line that says something looks like, comments left out. */
  readonly start: RegExp;
  readonly read: Importer;
};

/** Foreign configurations that can be read. */
export const FORMATS = {
  haproxy: {
    name: /\.cfg$/,
    start: /^(global|defaults|frontend|backend|listen|resolvers|userlist|peers)([ \t]+[^:{]*)?$/,
    read: importHaproxy,
  },
  nginx: {
    name: /(^|\/)nginx[^/]*\.conf$|\.conf$/,
    start:
      /^((user|worker_processes|error_log|pid|load_module|include)[ \t]+[^=:]*;|(events|http|stream|server|upstream\s+\S+|map\s+.*)\s*\{.*)$/,
    read: importNginx,
  },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;

/** Their names. */
// exempt(as): Object.keys forgets the names that the table was made of.
export const FORMAT_NAMES = Object.keys(FORMATS) as FormatName[];

/** What a file is by its content, else by its name; undefined: none of these. */
export function recognise(path: string, text: string): FormatName | undefined {
  if (/\.(ya?ml|json)$/.test(path)) return undefined;
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const first = lines.find((line) => line !== '') ?? '';
  return (
    FORMAT_NAMES.find((name) => FORMATS[name].start.test(first)) ??
    FORMAT_NAMES.find((name) => FORMATS[name].name.test(path))
  );
}
