import type { Command } from 'commander';
import { type Diagnostic, formatDiagnostics, loadConfig } from '../config/load.ts';
import { planChange } from '../config/plan.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { type Context, STATUS } from './context.ts';

type Files = { config: string[] };

function configCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .requiredOption('-c, --config <path...>', 'file or directory, YAML or JSON; several add up');
}

/** `check` and `plan`: what can be said of a configuration before it is applied. */
export function addConfigCommands(program: Command, context: Context): void {
  configCommand(program, 'check', 'check a configuration; exit 1 when it has errors').action(
    ({ config }: Files) => {
      if (load(config, context)) context.show({ ok: true }, `${config.join(', ')}: ok`);
    },
  );
  configCommand(
    program,
    'plan',
    'show what a configuration would change in the running daemon',
  ).action(async ({ config }: Files) => {
    const next = load(config, context);
    if (!next) return;
    const running = (await context.client().config()) as GatewayConfig;
    const lines = planChange(running, next);
    context.show(lines, lines.length > 0 ? lines.join('\n') : 'nothing would change');
  });
}

function load(paths: readonly string[], { io, json }: Context): GatewayConfig | undefined {
  const result = loadConfig(paths, io.config);
  if (result.ok) {
    if (result.warnings.length > 0) io.warn(formatWarnings(result.warnings));
    return result.config;
  }
  if (json()) {
    io.print(JSON.stringify({ ok: false, diagnostics: result.diagnostics }, null, 2));
    io.fail('', STATUS.failed);
  } else {
    io.fail(formatDiagnostics(result.diagnostics));
  }
  return undefined;
}

function formatWarnings(warnings: readonly Diagnostic[]): string {
  return formatDiagnostics(warnings.map((one) => ({ ...one, message: `warning: ${one.message}` })));
}
