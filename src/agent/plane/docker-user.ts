import type { Exec } from '../../kernel/exec.ts';
import { ACCEPT_MARK } from './host-table.ts';

/** The chain that Docker keeps for the rules of others; it reads it before its own. */
const CHAIN = 'DOCKER-USER';
const RULE = ['-m', 'mark', '--mark', `0x${ACCEPT_MARK.toString(16)}/0xffff`];
const ACCEPT = [...RULE, '-m', 'comment', '--comment', 'sluice', '-j', 'ACCEPT'];

async function succeeds(exec: Exec, argv: readonly string[]): Promise<boolean> {
  try {
    return (await exec(argv)).code === 0;
  } catch {
    // The command is not installed: nor is Docker's use of it.
    return false;
  }
}

/**
 * Beside Docker, whose policy is to drop what it does not know, packets that our table accepts
 * need one rule in the chain that Docker leaves to others. All agents of a host share it.
 */
export async function keepDockerRule(exec: Exec, wanted: boolean): Promise<void> {
  for (const tool of ['iptables', 'ip6tables']) {
    if (!(await succeeds(exec, [tool, '-w', '-n', '-L', CHAIN]))) continue;
    const there = await succeeds(exec, [tool, '-w', '-C', CHAIN, ...ACCEPT]);
    if (there !== wanted)
      await succeeds(exec, [tool, '-w', wanted ? '-I' : '-D', CHAIN, ...ACCEPT]);
  }
}
