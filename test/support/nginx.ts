import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './gateway.ts';

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

/** Why nginx cannot be run here; false: it can. */
export const nginxMissing: string | false =
  spawnSync('nginx', ['-v']).status === 0 ? false : 'nginx is not installed';

/** A real nginx with a directory of its own. */
export class Nginx {
  readonly directory: string;
  readonly #process: ChildProcess;
  #output = '';

  private constructor(directory: string) {
    this.directory = directory;
    const path = join(directory, 'nginx.conf');
    const args = ['-p', directory, '-c', path, '-g', 'daemon off;'];
    this.#process = spawn('nginx', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr?.on('data', (data) => {
      this.#output += data;
    });
  }

  /** Starts nginx on a configuration and waits until it listens on `port`. */
  static async start(
    config: string,
    port: number,
    prepare: (directory: string) => void = () => {},
  ): Promise<Nginx> {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-nginx-'));
    prepare(directory);
    // Its workers are somebody else.
    chmodSync(directory, 0o755);
    writeFileSync(join(directory, 'nginx.conf'), housed(config, directory));
    const nginx = new Nginx(directory);
    await eventually('nginx listens', () => {
      if (nginx.#process.exitCode !== null) throw new Error(`nginx ended: ${nginx.#output}`);
      return isOpen(port);
    });
    return nginx;
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    if (this.#process.exitCode === null) {
      this.#process.kill('SIGTERM');
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => socket.destroy());
    socket.on('connect', () => socket.destroy());
  });
}

/** The same configuration, with everything that it writes in a directory. */
function housed(config: string, directory: string): string {
  const own = /^\s*(user|pid|error_log|access_log|load_module|include)\s[^;]*;/gm;
  const paths = TEMPORARY.map((name) => `${name}_temp_path ${directory}/${name};`).join(' ');
  const head = `pid ${directory}/pid; error_log ${directory}/error.log;`;
  const stream = /^stream\b/m.test(config) ? `load_module ${STREAM_MODULE};` : '';
  const inner = `http { access_log off; ${paths}`;
  return `${stream} ${head}\n${config.replace(own, '').replace(/^http \{/m, inner)}`;
}
