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

type Member = {
  readonly name: string;
  readonly place: Place;
  readonly client: number;
  readonly peer: number;
};

/** A real cluster of etcd, each member a process. */
export class EtcdCluster {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sluice-etcd-'));
  readonly #members: readonly Member[];
  readonly #children = new Map<string, ChildProcess>();

  private constructor(members: readonly Member[]) {
    this.#members = members;
  }

  /** One member in each place, or that many here. */
  static async start(order: number | readonly Place[]): Promise<EtcdCluster> {
    const places = typeof order === 'number' ? Array<Place>(order).fill(HERE) : order;
    const ports = await freePorts(places.length * 2);
    const members = places.map((place, at) => ({
      ...{ name: `m${at}`, place },
      ...{ client: ports[at * 2] ?? 0, peer: ports[at * 2 + 1] ?? 0 },
    }));
    const cluster = new EtcdCluster(members);
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
    return this.#members.map(({ place, client }) => `${place.address}:${client}`);
  }

  get names(): string[] {
    return this.#members.map(({ name }) => name);
  }

  startMember(name: string): void {
    const member = this.#members.find((one) => one.name === name);
    if (!member) throw new Error(`no member ${name}`);
    const { place } = member;
    const url = (port: number) => `http://${place.address}:${port}`;
    const all = this.#members
      .map((one) => `${one.name}=http://${one.place.address}:${one.peer}`)
      .join(',');
    const flags = ['--name', name, '--data-dir', join(this.#folder, name)];
    flags.push('--listen-client-urls', url(member.client));
    flags.push('--advertise-client-urls', url(member.client));
    flags.push('--listen-peer-urls', url(member.peer));
    flags.push('--initial-advertise-peer-urls', url(member.peer));
    flags.push('--initial-cluster', all, '--heartbeat-interval', '100');
    flags.push('--election-timeout', '1000', '--logger', 'zap', '--log-outputs', '/dev/null');
    const [file = '', ...args] = [...place.enter, 'etcd', ...flags];
    this.#children.set(name, spawn(file, args, { stdio: 'ignore' }));
  }

  /** Name of the member that leads. */
  async leader(): Promise<string> {
    for (const one of this.#members) {
      const status = await this.#post(one, '/v3/maintenance/status', {}).catch(() => undefined);
      const { leader, header } = (status ?? {}) as Record<string, unknown> & {
        header?: { member_id?: string };
      };
      if (leader !== undefined && leader === header?.member_id) return one.name;
    }
    throw new Error('etcd has no leader');
  }

  /** Forgets every version but the latest. */
  async compact(): Promise<void> {
    const [first] = this.#members;
    if (!first) throw new Error('etcd has no member');
    const { header } = (await this.#post(first, '/v3/kv/range', { key: 'AA==' })) as {
      header: { revision: string };
    };
    await this.#post(first, '/v3/kv/compaction', { revision: header.revision, physical: true });
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
    const all = this.#members.map((one) => this.#post(one, '/v3/kv/range', { key: 'AA==' }));
    return (await Promise.allSettled(all)).every(({ status }) => status === 'fulfilled');
  }

  async #post({ place, client }: Member, path: string, body: unknown): Promise<unknown> {
    const url = `http://${place.address}:${client}${path}`;
    const node = [process.execPath, '--input-type=module', '-e', POST];
    const [file = '', ...args] = [...place.enter, ...node, url, JSON.stringify(body)];
    const { stdout } = await promisify(execFile)(file, args, { timeout: PATIENCE_MS });
    return JSON.parse(stdout);
  }
}
