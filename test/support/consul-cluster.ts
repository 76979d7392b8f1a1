import { consulProgram } from './consul.ts';
import { eventually, freePorts } from './gateway.ts';
import { askFrom, MemberProcesses, type Place } from './member-processes.ts';

type Member = {
  readonly name: string;
  /** Or an agent on a host, which neither votes nor keeps state. */
  readonly votes: boolean;
  readonly place: Place;
  readonly http: number;
  readonly server: number;
  readonly lan: number;
};

/** Real Consul servers that vote, and agents on other hosts, each a process with its state on disk. */
export class ConsulCluster {
  readonly #processes = new MemberProcesses('consul');
  readonly #members: readonly Member[];

  private constructor(members: readonly Member[]) {
    this.#members = members;
  }

  /** One server in each of the first places, an agent in each of the others. */
  static async start(
    servers: readonly Place[],
    agents: readonly Place[] = [],
  ): Promise<ConsulCluster> {
    const places = [...servers, ...agents];
    const ports = await freePorts(places.length * 3);
    const members = places.map((place, at) => ({
      ...{ name: `m${at}`, votes: at < servers.length, place, http: ports[at * 3] ?? 0 },
      ...{ server: ports[at * 3 + 1] ?? 0, lan: ports[at * 3 + 2] ?? 0 },
    }));
    const cluster = new ConsulCluster(members);
    try {
      for (const { name } of members) cluster.startMember(name);
      await eventually('Consul has a leader', () => cluster.#hasLeader(), 60_000);
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** `host:port` of each server's API. */
  get addresses(): string[] {
    return this.#servers.map(({ place, http }) => `${place.address}:${http}`);
  }

  /** Of the servers. */
  get names(): string[] {
    return this.#servers.map(({ name }) => name);
  }

  get agents(): string[] {
    return this.#members.filter(({ votes }) => !votes).map(({ name }) => name);
  }

  get #servers(): Member[] {
    return this.#members.filter(({ votes }) => votes);
  }

  startMember(name: string): void {
    const member = this.#members.find((one) => one.name === name);
    if (!member) throw new Error(`no server ${name}`);
    const { place, votes, http, server, lan } = member;
    const flags = [`-node=${name}`];
    if (votes) flags.push('-server', `-bootstrap-expect=${this.#servers.length}`);
    flags.push(`-data-dir=${this.#processes.folderOf(name)}`);
    flags.push(`-bind=${place.address}`, `-client=${place.address}`, `-http-port=${http}`);
    flags.push(`-server-port=${server}`, `-serf-lan-port=${lan}`, '-serf-wan-port=-1');
    flags.push('-dns-port=-1', '-grpc-port=-1');
    for (const other of this.#members) {
      if (other !== member) flags.push(`-retry-join=${other.place.address}:${other.lan}`);
    }
    flags.push('-retry-interval=1s', '-hcl=disable_update_check = true');
    // Elections as fast as Consul advises for production.
    flags.push('-hcl=performance { raft_multiplier = 1 }');
    this.#processes.start(name, place, [consulProgram ?? '', 'agent', ...flags]);
  }

  /** Name of the server that leads, as any of them tells it. */
  async leader(): Promise<string> {
    for (const one of this.#servers) {
      const told = await this.#get(one, '/v1/status/leader').catch(() => '');
      const found = this.#members.find(
        ({ place, server }) => told === `${place.address}:${server}`,
      );
      if (found) return found.name;
    }
    throw new Error('Consul has no leader');
  }

  /** Names of members that the others have lost. */
  async lost(): Promise<string[]> {
    const [first] = this.#servers;
    if (!first) return [];
    // exempt(as): the shape is the documented one
    const checks = (await this.#get(first, '/v1/health/state/critical')) as { Node: string }[];
    return checks.map(({ Node }) => Node);
  }

  kill(name: string): Promise<void> {
    return this.#processes.kill(name);
  }

  close(): Promise<void> {
    return this.#processes.close();
  }

  /** Whether all of them know each other, and who leads. */
  async #hasLeader(): Promise<boolean> {
    const all = await Promise.all(
      this.#members.map(async (one) => {
        const told = await this.#get(one, '/v1/status/leader').catch(() => '');
        const peers = await this.#get(one, '/v1/status/peers').catch(() => []);
        return told !== '' && Object(peers).length === this.#servers.length;
      }),
    );
    return all.every(Boolean);
  }

  #get({ place, http }: Member, path: string): Promise<unknown> {
    return askFrom(place, `http://${place.address}:${http}${path}`);
  }
}
