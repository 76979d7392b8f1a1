import type { Command } from 'commander';
import type { CliIo } from '../context.ts';
import { addContainerCommands } from './container-commands.ts';
import { engineContext } from './engine-context.ts';
import { addNetworkCommands } from './network-commands.ts';
import { addRunCommands } from './run-commands.ts';

/** The verbs of the engine, with docker's flags. */
export function addEngineCommands(program: Command, io: CliIo): void {
  const context = engineContext(io);
  addNetworkCommands(program, context);
  addRunCommands(program, context);
  addContainerCommands(program, context);
}
