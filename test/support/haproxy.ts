import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { eventually } from './gateway.ts';

/** Why the real HAProxy cannot be asked here, for a test's `skip`; false when it can. */
export const noHaproxy = spawnSync('haproxy', ['-v']).error ? 'needs haproxy' : false;

/** What a runtime API answers to a line on a connection of its own, until it closes it. */
export function askSocket(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
    socket.write(`${line}\n`);
  });
}

/** A real HAProxy, as the oracle of what its names and forms are. */
export class Haproxy {
  readonly directory = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'));
  readonly socket = join(this.directory, 'haproxy.sock');
  #child: ChildProcess | undefined;

  /**
   * Starts it on a configuration without `global` (it has a runtime API there; `more` adds lines)
   * and waits until it serves. `{DIR}` stands for its directory.
   */
  static async start(t: TestContext, config: string, more = ''): Promise<Haproxy> {
    const haproxy = new Haproxy();
    const path = join(haproxy.directory, 'haproxy.cfg');
    const text = `global\n  stats socket ${haproxy.socket} level admin\n${more}\n${config}`;
    writeFileSync(path, text.replaceAll('{DIR}', haproxy.directory));
    const child = spawn('haproxy', ['-db', '-f', path], { stdio: ['ignore', 'ignore', 'pipe'] });
    haproxy.#child = child;
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
    });
    t.after(() => haproxy.stop());
    await eventually('haproxy serves', async () => {
      if (child.exitCode !== null) throw new Error(`haproxy ended:\n${said}`);
      return (await haproxy.ask('show version').catch(() => '')) !== '';
    });
    return haproxy;
  }

  ask(line: string): Promise<string> {
    return askSocket(this.socket, line);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill();
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
