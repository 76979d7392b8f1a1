import { Command, CommanderError, Option } from 'commander';
import { errorText, SluiceError } from '../base/errors.ts';
import { addAgentCommands } from './agent-commands.ts';
import { addCompletion } from './completion.ts';
import { addConfigCommands } from './config-commands.ts';
import { type CliIo, contextOf, STATUS } from './context.ts';
import { addConvert } from './convert-command.ts';
import { addEngineCommands } from './engine/engine-commands.ts';
import { addOrders } from './orders.ts';
import { addTop } from './top.ts';
import { addReports, addViews } from './views.ts';

export type { CliIo, Screen } from './context.ts';

const AWAY = ['E_ADMIN_UNREACHABLE', 'E_ENGINE_UNREACHABLE'];
const DEFAULT_ADMIN = 'http://127.0.0.1:9900';
const STATUS_HELP = `
Exit status: 0 done, 1 refused or wrong, 2 bad usage, 3 the daemon does not answer.
A token is taken from SLUICE_TOKEN.`;

/**
 * Lets a verb take the program's options after its name as well: options are positional, since the
 * engine's verbs pass theirs on to a command.
 */
function takeCommonOptions(command: Command, program: Command): void {
  for (const { flags, long } of program.options.filter((one) => one.long !== '--version')) {
    if (command.options.some((own) => own.long === long)) continue;
    const option = new Option(flags).hideHelp();
    command.addOption(option);
    command.on(`option:${option.name()}`, (value: unknown) => {
      program.setOptionValue(option.attributeName(), value ?? true);
    });
  }
  for (const inner of command.commands) takeCommonOptions(inner, program);
}

/** The `sluice` command with all its verbs. */
export function createProgram(io: CliIo): Command {
  const program = new Command('sluice')
    .description('Asks and orders the Sluice daemon')
    .version(io.version)
    .option(
      '--admin <address>',
      'admin API of the daemon, http://HOST:PORT or unix:/PATH (or SLUICE_ADMIN)',
      io.admin ?? DEFAULT_ADMIN,
    )
    .option('--json', 'print JSON')
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(--help tells more)')
    .addHelpText('after', STATUS_HELP);
  const context = contextOf(program, io);
  addConfigCommands(program, context);
  addConvert(program, context);
  addViews(program, context);
  addReports(program, context);
  addTop(program, context);
  addOrders(program, context);
  addAgentCommands(program, context);
  for (const command of program.commands) takeCommonOptions(command, program);
  addEngineCommands(program, io);
  addCompletion(program, io.print);
  return program;
}

/** Runs the command line; errors are told in words and set the exit status. */
export async function runCli(io: CliIo, argv: readonly string[]): Promise<void> {
  try {
    await createProgram(io).parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has said what was wrong, or has shown the help that was asked for.
      const asked = ['commander.helpDisplayed', 'commander.version'].includes(error.code);
      if (!asked) io.fail('', STATUS.usage);
      return;
    }
    const away = error instanceof SluiceError && AWAY.includes(error.code);
    io.fail(`sluice: ${errorText(error)}`, away ? STATUS.unreachable : STATUS.failed);
  }
}
