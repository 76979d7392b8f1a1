import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { errorText } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

/** Where a directory for sockets may be, best first. Source: systemd.exec(5), RuntimeDirectory=. */
function candidate(env: NodeJS.ProcessEnv): string {
  const given = env['RUNTIME_DIRECTORY']?.split(':')[0];
  if (given) return given;
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return '/run/sluice';
  const own = env['XDG_RUNTIME_DIR'];
  return own ? join(own, 'sluice') : join(tmpdir(), `sluice-${uid}`);
}

/** Names the sockets by which the processes of one configuration find each other. */
export class RunDirectory {
  readonly #path: string;
  readonly #id: string;

  constructor(path: string, configPaths: readonly string[]) {
    this.#path = path;
    const whole = configPaths.map((one) => resolve(one)).join('\n');
    this.#id = createHash('sha256').update(whole).digest('hex').slice(0, 12);
  }

  /** Where the supervisor of this configuration listens while it lives. */
  get supervisor(): string {
    return join(this.#path, `${this.#id}.sock`);
  }

  /** Where the worker of a slot waits when it has lost its supervisor. */
  worker(slot: number): string {
    return join(this.#path, `${this.#id}.${slot}.sock`);
  }

  /** Takes every socket of this configuration away, when nobody is left to be found. */
  clear(): void {
    for (const path of [this.supervisor, ...this.workers]) rmSync(path, { force: true });
  }

  /** The workers' sockets that there are. */
  get workers(): string[] {
    const name = new RegExp(`^${this.#id}\\.\\d+\\.sock$`);
    return readdirSync(this.#path)
      .filter((entry) => name.test(entry))
      .map((entry) => join(this.#path, entry));
  }
}

/**
 * Opens the directory, which nobody else may write to. Without one, a worker whose supervisor dies
 * serves on, but its sockets are not taken over.
 */
export function openRunDirectory(
  env: NodeJS.ProcessEnv,
  configPaths: readonly string[],
  logger: Logger,
): RunDirectory | undefined {
  const path = candidate(env);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const { uid, mode } = lstatSync(path);
    const foreign = uid !== process.getuid?.() || (mode & 0o022) !== 0;
    if (!foreign) return new RunDirectory(path, configPaths);
    logger.warn('no run directory: others may write to it', { path });
  } catch (error) {
    logger.warn('no run directory', { path, why: errorText(error) });
  }
  return undefined;
}
