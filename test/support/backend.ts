import { type ChildProcess, spawn } from 'node:child_process';

const SERVER = new URL('./backend-server.ts', import.meta.url).pathname;

/** A real HTTP server process on a port of 127.0.0.1. */
export class Backend {
  readonly port: number;
  readonly name: string;
  #child: ChildProcess | undefined;

  constructor(port: number, name: string) {
    this.port = port;
    this.name = name;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [SERVER, String(this.port), this.name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
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
