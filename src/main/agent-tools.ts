import { probeHost } from '../agent/doctor.ts';
import { createNaming } from '../agent/plane/naming.ts';
import type { AgentTools } from '../agent/plane/tools.ts';
import { systemClock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import { execCommand } from '../kernel/exec.ts';
import { loadNative } from '../kernel/native.ts';
import type { Capability } from '../link/agent-port.ts';

/** The real tools of an agent. */
export async function agentTools(options: {
  readonly prefix: string;
  readonly execRoot: string;
  readonly logger: Logger;
  /** False: do without the optional package that brings system calls. */
  readonly native: boolean;
}): Promise<AgentTools> {
  return {
    exec: execCommand,
    native: options.native ? await loadNative() : undefined,
    naming: createNaming(options.prefix),
    clock: systemClock,
    logger: options.logger,
    execRoot: options.execRoot,
  };
}

/** What an agent of that prefix needs of this host. */
export async function examineHost(prefix: string): Promise<readonly Capability[]> {
  const tools = await agentTools({ prefix, execRoot: '', logger: silentLogger, native: true });
  return probeHost(tools);
}
