import { readFileSync, writeFileSync } from 'node:fs';
import { errorText, SluiceError } from '../base/errors.ts';
import { type Exec, must } from './exec.ts';
import type { Native } from './native.ts';
import { execIn, netnsPath } from './netns.ts';

/** The file of a setting; a link name may contain dots, written as `/` in the setting's name. */
function sysctlFile(name: string): string {
  return `/proc/sys/${name.replaceAll(/[./]/g, (mark) => (mark === '.' ? '/' : '.'))}`;
}

/** A setting of this process's namespace; undefined when the kernel does not have it. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(sysctlFile(name), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** Sets a kernel setting in this process's namespace, unless it has the value. */
export function writeSysctl(name: string, value: string): void {
  if (readSysctl(name) === value) return;
  try {
    writeFileSync(sysctlFile(name), value);
  } catch (error) {
    throw new SluiceError('E_AGENT_COMMAND', `sysctl ${name}=${value}: ${errorText(error)}`);
  }
}

/** Sets kernel settings in a named network namespace. */
export async function writeSysctlsIn(
  tools: { exec: Exec; native: Native | undefined },
  namespace: string,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const entries = Object.entries(settings);
  if (entries.length === 0) return;
  if (tools.native) {
    tools.native.inNamespace(netnsPath(namespace), () => {
      for (const [name, value] of entries) writeSysctl(name, value);
    });
    return;
  }
  const pairs = entries.map(([name, value]) => `${name}=${value}`);
  await must(execIn(tools.exec, undefined, namespace), ['sysctl', '-q', '-w', ...pairs]);
}
