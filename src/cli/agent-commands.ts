import type { Command } from 'commander';
import { type Context, type HostNeed, STATUS } from './context.ts';
import { table } from './table.ts';

function state({ available, required }: HostNeed): string {
  if (available) return 'ok';
  return required ? 'MISSING' : 'absent';
}

/** `agent doctor`: what the node agent needs of this host, and how to get it. */
export function addAgentCommands(program: Command, { io, show }: Context): void {
  const agent = program.command('agent').description('the node agent of this host');
  agent
    .command('doctor')
    .description('what the agent needs of this host; exit 1 when it cannot work')
    .option('--prefix <name>', 'names of the agent that is asked for', 'sluice')
    .action(async ({ prefix }: { prefix: string }) => {
      const needs = await io.examineHost(prefix);
      const rows = needs.map((need) => [state(need), need.name, need.purpose, need.detail]);
      show(needs, table(['STATE', 'NEED', 'FOR', 'DETAIL'], rows));
      const lacking = needs.filter(({ available, required }) => required && !available);
      if (lacking.length > 0) {
        io.fail(`the agent cannot work: ${lacking.length} needs are missing`, STATUS.failed);
      }
    });
}
