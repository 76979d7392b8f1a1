import { probeHost } from '../agent/doctor.ts';
import { createNaming } from '../agent/plane/naming.ts';
import type { AgentTools } from '../agent/plane/tools.ts';
import { systemClock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import { execCommand } from '../kernel/exec.ts';
import { loadNative } from '../kernel/native.ts';
import type { Capability } from '../link/agent-port.ts';

/** Variables by which podman finds its configuration. Source: containers.conf(5). */
const PODMAN_VARIABLES = [
  ...['CONTAINERS_CONF', 'CONTAINERS_STORAGE_CONF', 'CONTAINERS_REGISTRIES_CONF'],
  ...['XDG_CONFIG_HOME', 'TMPDIR'],
];

function podmanEnv(): string[] {
  const given = PODMAN_VARIABLES.filter((name) => process.env[name] !== undefined);
  return ['HOME=/root', ...given.map((name) => `${name}=${process.env[name]}`)];
}

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
    podmanEnv: podmanEnv(),
  };
}

/** What an agent of that prefix needs of this host. */
export async function examineHost(prefix: string): Promise<readonly Capability[]> {
  const tools = await agentTools({ prefix, execRoot: '', logger: silentLogger, native: true });
  return probeHost(tools);
}
