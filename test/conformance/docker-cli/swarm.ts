import { HOST, type Lab } from './lab.ts';
import { type Row, rows } from './rows.ts';

async function removeAll(lab: Lab, kind: string): Promise<void> {
  const { out } = await lab.docker(kind, 'ls', '-q');
  const ids = out.trim().split('\n').filter(Boolean);
  if (ids.length > 0) await lab.docker(kind, 'rm', ...ids);
}

/** Runs rows on the one manager of a cluster; what a row makes of the cluster's is removed. */
export function swarmRows(list: readonly Row[]): void {
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
  rows([], list.map(within));
}
