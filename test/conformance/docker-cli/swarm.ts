import { fileURLToPath } from 'node:url';
import { HOST, type Lab } from './lab.ts';
import { eventually, type Row, rows } from './rows.ts';

/** Serves and asks by itself. */
export const PEER = fileURLToPath(new URL('./peer.mjs', import.meta.url));
export const SLEEP = ['host', 'sleep', '600'];
export const FAST = ['--stop-grace-period', '1s', '--restart-delay', '0s'];

/** Makes a service without waiting for it. */
export function create(
  lab: Lab,
  name: string,
  flags: readonly string[],
  command: readonly string[] = SLEEP,
) {
  return lab.ok('service', 'create', '-d', '--name', name, ...FAST, ...flags, ...command);
}

/** Makes one whose tasks are servers that say their name. */
export function serve(lab: Lab, name: string, ports: readonly string[], ...flags: string[]) {
  return create(lab, name, flags, ['host', process.execPath, PEER, 'serve', name, ...ports]);
}

export function ps(lab: Lab, name: string, format: string, ...filters: string[]) {
  return lab.ok('service', 'ps', '--no-trunc', '--format', format, ...filters, name);
}

/** Waits until so many tasks run. */
export function runs(lab: Lab, name: string, wanted: string) {
  const replicas = () => lab.ok('service', 'ls', '--format', '{{.Replicas}}', '-f', `name=${name}`);
  return eventually(replicas, new RegExp(`^${wanted}$`));
}

/** The container of a service's first task. */
export async function container(lab: Lab, name: string): Promise<string> {
  await runs(lab, name, '1/1');
  const filter = ['--filter', `label=com.docker.swarm.service.name=${name}`];
  const ids = (await lab.ok('ps', '-q', ...filter)).split('\n');
  return ids[0] ?? '';
}

export async function update(lab: Lab, ...args: string[]): Promise<void> {
  await eventually(async () => {
    const { code, err } = await lab.docker('service', ...args);
    return code === 0 ? 'done' : err;
  }, /^done$/);
}

export const nodeId = (lab: Lab) => lab.ok('info', '-f', '{{.Swarm.NodeID}}');

async function removeAll(lab: Lab, kind: string): Promise<void> {
  const { out } = await lab.docker(kind, 'ls', '-q');
  const ids = out.trim().split('\n').filter(Boolean);
  if (ids.length > 0) await lab.docker(kind, 'rm', ...ids);
}

/** Runs rows on the one manager of a cluster; what a row makes of the cluster's is removed. */
export function swarmRows(list: readonly Row[], flags: readonly string[] = []): void {
  const within = ({ run, ...rest }: Row): Row => ({
    ...rest,
    async run(lab) {
      const state = await lab.ok('info', '-f', '{{.Swarm.LocalNodeState}}');
      if (state !== 'active') await lab.ok('swarm', 'init', '--advertise-addr', HOST);
      try {
        return await run(lab);
      } finally {
        for (const kind of ['service', 'secret', 'config']) await removeAll(lab, kind);
      }
    },
  });
  rows(flags, list.map(within));
}
