import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Where a member runs: its address there, and what runs a command there. */
export type Place = { readonly address: string; readonly enter: readonly string[] };

const PATIENCE_MS = 2000;
/** Prints what an address answers; a body is posted to it. */
const ASK = `const [url, body] = process.argv.slice(1);
const answer = await fetch(url, body === undefined ? {} : { method: 'POST', body });
if (!answer.ok) throw new Error(url + ' answers ' + answer.status);
process.stdout.write(await answer.text());`;

/** The JSON that an address answers to a program in a place. */
export async function askFrom(place: Place, url: string, body?: unknown): Promise<unknown> {
  const node = [process.execPath, '--input-type=module', '-e', ASK, url];
  const [file = '', ...args] = [...place.enter, ...node];
  if (body !== undefined) args.push(JSON.stringify(body));
  const { stdout } = await promisify(execFile)(file, args, { timeout: PATIENCE_MS });
  return JSON.parse(stdout);
}

/** The members of a cluster, each a process with its state in a folder of its own. */
export class MemberProcesses {
  readonly #folder: string;
  readonly #children = new Map<string, ChildProcess>();

  constructor(what: string) {
    this.#folder = mkdtempSync(join(tmpdir(), `sluice-${what}-`));
  }

  folderOf(name: string): string {
    return join(this.#folder, name);
  }

  start(name: string, { enter }: Place, argv: readonly string[]): void {
    const [file = '', ...args] = [...enter, ...argv];
    this.#children.set(name, spawn(file, args, { stdio: 'ignore' }));
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#children.get(name)?.kill(signal);
  }

  /** Resolves when it has ended. */
  async kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** Ends all of them and removes their state. */
  async close(): Promise<void> {
    for (const name of [...this.#children.keys()]) await this.kill(name);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
