import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { SluiceError } from '../base/errors.ts';
import { unreadable } from '../base/unreadable.ts';
import { foreignSource, toYaml } from '../config/foreign.ts';
import { type ConfigIo, formatDiagnostics, loadConfig } from '../config/load.ts';
import { FORMAT_NAMES, FORMATS, type FormatName, recognise } from '../importers/catalog.ts';
import { formatReport, type ImportResult } from '../importers/report.ts';
import { type Context, STATUS } from './context.ts';

type Options = { from?: FormatName; strict?: boolean; output?: string };

const DESCRIPTION = `translate another program's configuration into YAML, with a report on
standard error: what was translated, what only roughly, what not at all; exit 1
when the result would not load`;

/** `convert`: a configuration of HAProxy or nginx as one of ours. */
export function addConvert(program: Command, context: Context): void {
  program
    .command('convert')
    .argument('<file>', 'such as haproxy.cfg')
    .description(DESCRIPTION)
    .addOption(
      new Option('--from <program>', 'whose configuration it is (default: seen by itself)').choices(
        FORMAT_NAMES,
      ),
    )
    .option('--strict', 'exit 1 when something is not supported')
    .option('-o, --output <file>', 'write there (default: standard output)')
    .action((file: string, options: Options) => convert(file, options, context));
}

function convert(file: string, options: Options, { io, json }: Context): void {
  const result = read(file, options.from, io.config);
  const { diagnostics } = foreignSource(file, result);
  if (diagnostics.length > 0) {
    io.fail(formatDiagnostics(diagnostics));
    return;
  }
  const yaml = `# Converted from ${file}.\n${toYaml(result.config)}`;
  const { output } = options;
  if (output !== undefined) io.writeFile(output, yaml);
  else if (!json()) io.print(yaml.trimEnd());
  if (json()) io.print(JSON.stringify({ config: result.config, report: result.report }, null, 2));
  else io.warn(formatReport(result.report));
  const wrong = faults(file, yaml, output, io.config);
  if (wrong) io.fail(wrong);
  else if (options.strict && result.report.unsupported.length > 0) io.fail('', STATUS.failed);
}

function read(file: string, from: FormatName | undefined, io: ConfigIo): ImportResult {
  const text = io.readFile(file);
  if (text === undefined) throw new SluiceError('E_CONFIG_INVALID', unreadable(file, file, io));
  const format = from ?? recognise(file, text);
  if (format) return FORMATS[format].read(text, file, io);
  const names = FORMAT_NAMES.join(' or ');
  throw new SluiceError(
    'E_CONFIG_INVALID',
    `${file}: what it is cannot be seen; give --from ${names}`,
  );
}

/** What keeps the result from loading: a file that it names, for one, is not on this machine. */
function faults(
  file: string,
  yaml: string,
  output: string | undefined,
  io: ConfigIo,
): string | undefined {
  const path = output ?? join(dirname(file), 'converted.yaml');
  const readFile = (one: string) => (one === path ? yaml : io.readFile(one));
  const loaded = loadConfig([path], { ...io, readFile, listDirectory: () => undefined });
  return loaded.ok ? undefined : formatDiagnostics(loaded.diagnostics);
}
