import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { eventually } from './gateway.ts';

const TOOLS = new URL('../../.tools/usr/bin', import.meta.url).pathname;
/** Path of the `consul` program, if there is one. */
export const consulProgram = [TOOLS, ...(process.env['PATH'] ?? '').split(delimiter)]
  .map((directory) => join(directory, 'consul'))
  .find((path) => existsSync(path));
/** Why no Consul can be started here, for a test's `skip`; false when one can. */
export const noConsul = consulProgram
  ? false
  : 'no consul program; test/support/install/consul.sh .tools gets one';

/** A real Consul server in development mode. */
export class ConsulServer {
  readonly http: number;
  readonly #ports: number[];
  #child: ChildProcess | undefined;

  constructor(ports: number[]) {
    this.#ports = ports;
    this.http = ports[0] ?? 0;
  }

  async start(): Promise<void> {
    const [, server, lan, wan] = this.#ports;
    const flags = ['-dev', '-bind=127.0.0.1', '-client=127.0.0.1', `-http-port=${this.http}`];
    flags.push('-dns-port=-1', '-grpc-port=-1', `-server-port=${server}`);
    flags.push(`-serf-lan-port=${lan}`, `-serf-wan-port=${wan}`);
    flags.push('-hcl=disable_update_check = true');
    this.#child = spawn(consulProgram ?? '', ['agent', ...flags], { stdio: 'ignore' });
    await eventually('consul has a leader', () => this.#hasLeader(), 20_000);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** Puts an instance of the service `app` into the catalog; `more` are fields of Consul's. */
  async register(
    id: string,
    port: number,
    address = '127.0.0.1',
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const body = { ID: id, Name: 'app', Address: address, Port: port, ...more };
    await this.#put('register', JSON.stringify(body));
  }

  async deregister(id: string): Promise<void> {
    await this.#put(`deregister/${id}`, '');
  }

  /** Tells the state of an instance's TTL check: `pass` or `fail`. */
  async tell(id: string, state: 'pass' | 'fail'): Promise<void> {
    const url = `http://127.0.0.1:${this.http}/v1/agent/check/${state}/service:${id}`;
    const answer = await fetch(url, { method: 'PUT' });
    assert.equal(answer.status, 200, await answer.text());
  }

  async #put(what: string, body: string): Promise<void> {
    const url = `http://127.0.0.1:${this.http}/v1/agent/service/${what}`;
    const answer = await fetch(url, { method: 'PUT', body });
    assert.equal(answer.status, 200, await answer.text());
  }

  async #hasLeader(): Promise<boolean> {
    const url = `http://127.0.0.1:${this.http}/v1/status/leader`;
    const text = await fetch(url).then(
      (answer) => answer.text(),
      () => '',
    );
    return /^"127\.0\.0\.1:/.test(text);
  }
}
