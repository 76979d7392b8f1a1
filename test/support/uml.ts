import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { netnsUnavailable } from './netns.ts';

const MACHINE = '/usr/bin/linux.uml';
const SUPPORT = new URL('./', import.meta.url).pathname;
const TIMEOUT_MS = 300_000;

/** Why no other kernel can be booted here; false when it can. */
export function umlUnavailable(): string | false {
  const lacking = netnsUnavailable();
  if (lacking) return lacking;
  if (!existsSync(MACHINE)) return 'the package user-mode-linux is not installed';
  for (const [tool, name] of Object.entries({ modprobe: 'kmod', ping: 'iputils-ping' })) {
    const there = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].some((at) =>
      existsSync(join(at, tool)),
    );
    if (!there) return `the package ${name} is not installed`;
  }
  return false;
}

/** What the machine's console shows while it runs a script of this folder. */
function boot(script: string, modules: readonly string[]): string {
  const memory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sluice-uml-'));
  const argv = [
    ...['mem=384M', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro', 'quiet'],
    ...['con=null', 'con0=fd:0,fd:1', `init=${join(SUPPORT, 'uml-init.sh')}`],
    ...[`node=${process.execPath}`, `script=${join(SUPPORT, script)}`],
    ...[`modules=${modules.join(',')}`, 'end'],
  ];
  try {
    const { stdout, error } = spawnSync('unshare', ['-n', MACHINE, ...argv], {
      ...{ encoding: 'utf8', timeout: TIMEOUT_MS, killSignal: 'SIGKILL' },
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'], TMPDIR: memory, HOME: memory },
    });
    return `${stdout}${error ?? ''}`;
  } finally {
    rmSync(memory, { recursive: true, force: true });
  }
}

/** Boots the machine with these kernel modules; the script has to print so many checks, all `ok`. */
export function passesInUml(script: string, modules: readonly string[], checks: number): void {
  const console = boot(script, modules).replaceAll('\r', '');
  const lines = console.split('\n');
  assert.ok(lines.includes('done'), console);
  assert.deepEqual(
    lines.filter((line) => line.startsWith('not ok ')),
    [],
  );
  assert.equal(lines.filter((line) => line.startsWith('ok ')).length, checks, console);
}

/** Prints whether a check holds, from inside the machine. */
export function check(name: string, holds: boolean, detail = ''): void {
  console.log(`${holds ? 'ok' : 'not ok'} ${name}${holds ? '' : ` ${detail}`}`);
}
