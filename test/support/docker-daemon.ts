import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** How a program ended and what it said. */
export type Outcome = { readonly code: number; readonly out: string; readonly err: string };

const COMMAND_MS = 60_000;

/** Why no daemon can be tried here; undefined: it can. */
export function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const tools = ['ip', 'nft', 'nsenter', 'docker'];
  const absent = tools.filter((tool) => {
    const paths = ['/usr/local/bin', '/usr/bin', '/usr/sbin', '/bin', '/sbin'];
    return !paths.some((path) => existsSync(`${path}/${tool}`));
  });
  if (absent.length > 0) return `needs ${absent.join(', ')}`;
  try {
    execFileSync('ip', ['netns', 'add', `slr-probe-${process.pid}`], { stdio: 'pipe' });
    execFileSync('ip', ['netns', 'del', `slr-probe-${process.pid}`], { stdio: 'pipe' });
    return undefined;
  } catch {
    return 'needs the right to make network namespaces';
  }
}

/** Runs a program to its end; never throws for what it answers. */
export function run(
  argv: readonly string[],
  env: Record<string, string> = {},
  input = '',
): Promise<Outcome> {
  const [file = '', ...args] = argv;
  return new Promise((resolve) => {
    const options = { env: { ...process.env, ...env }, timeout: COMMAND_MS, maxBuffer: 1 << 24 };
    const child = execFile(file, args, options, (error, out, err) => {
      const code = error ? (typeof error.code === 'number' ? error.code : 255) : 0;
      resolve({ code, out: String(out), err: String(err) });
    });
    // One that has ended already does not read.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** The major version of the docker command line. */
export function cliMajor(): number {
  const text = execFileSync('docker', ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)/.exec(text)?.[1]);
}

/** A daemon as docker's command line sees it: the folder holds its socket and its log. */
export class DockerDaemon {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get socket(): string {
    return join(this.folder, 'api.sock');
  }

  get log(): string {
    return readFileSync(join(this.folder, 'daemon.log'), 'utf8');
  }

  /** Runs docker against the daemon. */
  docker(...args: string[]): Promise<Outcome> {
    return this.dockerWith('', ...args);
  }

  /** The same with something to read. */
  dockerWith(input: string, ...args: string[]): Promise<Outcome> {
    const env = { DOCKER_HOST: `unix://${this.socket}`, DOCKER_CONFIG: join(this.folder, 'cli') };
    return run(['docker', ...args], env, input);
  }

  /** Output of a docker command that has to succeed. */
  async ok(...args: string[]): Promise<string> {
    const { code, out, err } = await this.docker(...args);
    if (code !== 0) throw new Error(`docker ${args.join(' ')}: ${code}\n${out}${err}`);
    return out.trim();
  }
}
