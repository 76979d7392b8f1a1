import { execFileSync } from 'node:child_process';
import { eventually, freePorts } from './gateway.ts';
import { askFrom, MemberProcesses, type Place } from './member-processes.ts';

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

const HERE: Place = { address: '127.0.0.1', enter: [] };

type Member = {
  readonly name: string;
  readonly place: Place;
  readonly client: number;
  readonly peer: number;
};

/** A real cluster of etcd, each member a process. */
export class EtcdCluster {
  readonly #processes = new MemberProcesses('etcd');
  readonly #members: readonly Member[];

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
    const flags = ['--name', name, '--data-dir', this.#processes.folderOf(name)];
    flags.push('--listen-client-urls', url(member.client));
    flags.push('--advertise-client-urls', url(member.client));
    flags.push('--listen-peer-urls', url(member.peer));
    flags.push('--initial-advertise-peer-urls', url(member.peer));
    flags.push('--initial-cluster', all, '--heartbeat-interval', '100');
    flags.push('--election-timeout', '1000', '--logger', 'zap', '--log-outputs', '/dev/null');
    this.#processes.start(name, place, ['etcd', ...flags]);
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
    this.#processes.signal(name, signal);
  }

  kill(name: string): Promise<void> {
    return this.#processes.kill(name);
  }

  close(): Promise<void> {
    return this.#processes.close();
  }

  async #answers(): Promise<boolean> {
    const all = this.#members.map((one) => this.#post(one, '/v3/kv/range', { key: 'AA==' }));
    return (await Promise.allSettled(all)).every(({ status }) => status === 'fulfilled');
  }

  #post({ place, client }: Member, path: string, body: unknown): Promise<unknown> {
    return askFrom(place, `http://${place.address}:${client}${path}`, body);
  }
}
