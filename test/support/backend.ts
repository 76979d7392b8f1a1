import { type ChildProcess, spawn } from 'node:child_process';

const SERVER = new URL('./backend-server.ts', import.meta.url).pathname;

/** A real HTTP server process on a port of 127.0.0.1. */
export class Backend {
  readonly port: number;
  readonly name: string;
  readonly #journal: string;
  readonly #protocol: 'http1' | 'h2c';
  #child: ChildProcess | undefined;

  /** `journal` is a file to which every numbered POST is added before it is answered. */
  constructor(port: number, name: string, journal = '', protocol: 'http1' | 'h2c' = 'http1') {
    this.port = port;
    this.name = name;
    this.#journal = journal;
    this.#protocol = protocol;
  }

  async start(): Promise<void> {
    const args = [SERVER, String(this.port), this.name, this.#journal, this.#protocol];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`backend ${this.name} ended with ${code}`)));
    });
  }

  async mode(mode: string): Promise<void> {
    await fetch(`http://127.0.0.1:${this.port}/-/mode`, { method: 'POST', body: mode });
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}
