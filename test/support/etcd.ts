import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, freePorts } from './gateway.ts';

function version(): string | undefined {
  try {
    return /etcd Version: (\S+)/.exec(
      execFileSync('etcd', ['--version'], { encoding: 'utf8' }),
    )?.[1];
  } catch {
    return undefined;
  }
}

/** Why no etcd can be started here, for a test's `skip`; false when one can. */
export const noEtcd = version() ? false : 'no etcd program; the package etcd-server has one';

/** Where a cluster runs: its address there, and what runs a command there. */
export type Place = { readonly address: string; readonly enter: readonly string[] };

const HERE: Place = { address: '127.0.0.1', enter: [] };
const PATIENCE_MS = 2000;
/** Posts a body to an address and prints the answer. */
const POST = `const [url, body] = process.argv.slice(1);
const answer = await fetch(url, { method: 'POST', body });
if (!answer.ok) throw new Error('etcd answers ' + answer.status);
process.stdout.write(await answer.text());`;

type Member = { readonly name: string; readonly client: number; readonly peer: number };

/** A real cluster of etcd, each member a process. */
export class EtcdCluster {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sluice-etcd-'));
  readonly #members: readonly Member[];
  readonly #place: Place;
  readonly #children = new Map<string, ChildProcess>();

  private constructor(members: readonly Member[], place: Place) {
    this.#members = members;
    this.#place = place;
  }

  static async start(size: number, place = HERE): Promise<EtcdCluster> {
    const ports = await freePorts(size * 2);
    const members = Array.from({ length: size }, (_, at) => ({
      name: `m${at}`,
      client: ports[at * 2] ?? 0,
      peer: ports[at * 2 + 1] ?? 0,
    }));
    const cluster = new EtcdCluster(members, place);
    try {
      for (const { name } of members) cluster.startMember(name);
      await eventually('etcd answers', () => cluster.#answers(), 30_000);
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** `host:port` of each member. */
  get addresses(): string[] {
    return this.#members.map(({ client }) => `${this.#place.address}:${client}`);
  }

  get names(): string[] {
    return this.#members.map(({ name }) => name);
  }

  startMember(name: string): void {
    const member = this.#members.find((one) => one.name === name);
    if (!member) throw new Error(`no member ${name}`);
    const url = (port: number) => `http://${this.#place.address}:${port}`;
    const all = this.#members.map((one) => `${one.name}=${url(one.peer)}`).join(',');
    const flags = ['--name', name, '--data-dir', join(this.#folder, name)];
    flags.push('--listen-client-urls', url(member.client));
    flags.push('--advertise-client-urls', url(member.client));
    flags.push('--listen-peer-urls', url(member.peer));
    flags.push('--initial-advertise-peer-urls', url(member.peer));
    flags.push('--initial-cluster', all, '--heartbeat-interval', '100');
    flags.push('--election-timeout', '1000', '--logger', 'zap', '--log-outputs', '/dev/null');
    const [file = '', ...args] = [...this.#place.enter, 'etcd', ...flags];
    this.#children.set(name, spawn(file, args, { stdio: 'ignore' }));
  }

  /** Name of the member that leads. */
  async leader(): Promise<string> {
    for (const { name, client } of this.#members) {
      const status = await this.#post(client, '/v3/maintenance/status', {}).catch(() => undefined);
      const { leader, header } = (status ?? {}) as Record<string, unknown> & {
        header?: { member_id?: string };
      };
      if (leader !== undefined && leader === header?.member_id) return name;
    }
    throw new Error('etcd has no leader');
  }

  /** Forgets every version but the latest. */
  async compact(): Promise<void> {
    const { client } = this.#members[0] ?? { client: 0 };
    const { header } = (await this.#post(client, '/v3/kv/range', { key: 'AA==' })) as {
      header: { revision: string };
    };
    await this.#post(client, '/v3/kv/compaction', { revision: header.revision, physical: true });
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#children.get(name)?.kill(signal);
  }

  async kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async close(): Promise<void> {
    for (const name of this.names) await this.kill(name);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #answers(): Promise<boolean> {
    const all = this.#members.map(({ client }) =>
      this.#post(client, '/v3/kv/range', { key: 'AA==' }),
    );
    return (await Promise.allSettled(all)).every(({ status }) => status === 'fulfilled');
  }

  async #post(port: number, path: string, body: unknown): Promise<unknown> {
    const url = `http://${this.#place.address}:${port}${path}`;
    const node = [process.execPath, '--input-type=module', '-e', POST];
    const [file = '', ...args] = [...this.#place.enter, ...node, url, JSON.stringify(body)];
    const { stdout } = await promisify(execFile)(file, args, { timeout: PATIENCE_MS });
    return JSON.parse(stdout);
  }
}
