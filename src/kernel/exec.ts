import { spawn } from 'node:child_process';
import { SluiceError } from '../base/errors.ts';

/** The default limit of a command's run time. */
export const COMMAND_TIMEOUT_MS = 5000;
/** The default limit of what a command may print, on each of its streams. */
export const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** How much of an error text is kept in a message. */
const MAX_ERROR_CHARS = 2000;

/** What a finished command left. */
export type CommandResult = {
  /** 128 + signal when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
};

export type CommandOptions = {
  readonly input?: string | undefined;
  readonly timeoutMs?: number | undefined;
  readonly maxOutputBytes?: number | undefined;
  /** Told once the command runs. */
  readonly started?: ((pid: number) => void) | undefined;
};

/** Runs commands of the host. Arguments are passed as they are; there is no shell. */
export type Exec = (argv: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

/** The folders that are searched for commands; the environment has no say. */
export const COMMAND_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const ENVIRONMENT = { PATH: COMMAND_PATH, LC_ALL: 'C' };

/** Runs one command to its end. Rejects when it cannot be started, takes or prints too much. */
export const execCommand: Exec = (argv, options = {}) =>
  new Promise((resolve, reject) => {
    const [file = '', ...rest] = argv;
    const child = spawn(file, rest, { env: ENVIRONMENT, stdio: ['pipe', 'pipe', 'pipe'] });
    if (child.pid !== undefined) options.started?.(child.pid);
    const limit = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
    const output: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
    let failure: string | undefined;
    const end = (why: string) => {
      failure ??= why;
      child.kill('SIGKILL');
    };
    const timeoutMs = options.timeoutMs ?? COMMAND_TIMEOUT_MS;
    const timer = setTimeout(() => end(`did not end within ${timeoutMs} ms`), timeoutMs);
    for (const name of ['stdout', 'stderr'] as const) {
      let size = 0;
      child[name].on('data', (data: Buffer) => {
        size += data.length;
        if (size > limit) end(`printed more than ${limit} bytes`);
        else output[name].push(data);
      });
    }
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(new SluiceError('E_AGENT_COMMAND', `${file} cannot be run: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (failure) {
        reject(new SluiceError('E_AGENT_COMMAND', `${argv.join(' ').slice(0, 200)} ${failure}`));
        return;
      }
      resolve({
        code: code ?? 128 + (signal ? 9 : 0),
        stdout: Buffer.concat(output.stdout).toString(),
        stderr: Buffer.concat(output.stderr).toString(),
      });
    });
    // A command that ends early closes its input: its exit status says more than EPIPE.
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
  });

/** Runs a command that has to succeed; the error carries what it printed. */
export async function must(
  exec: Exec,
  argv: readonly string[],
  options?: CommandOptions,
): Promise<string> {
  const { code, stdout, stderr } = await exec(argv, options);
  if (code === 0) return stdout;
  const said = (stderr.trim() || stdout.trim()).slice(0, MAX_ERROR_CHARS);
  throw new SluiceError(
    'E_AGENT_COMMAND',
    `${argv.slice(0, 4).join(' ')} failed with ${code}: ${said}`,
  );
}
