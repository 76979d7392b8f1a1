import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Load, Site, type SiteHost } from '../e2e/site.ts';
import { missing } from '../support/docker-daemon.ts';
import { figure } from '../support/figures.ts';

const skip = missing() ?? false;
const WEB = fileURLToPath(new URL('../e2e/web.mjs', import.meta.url));
const HOSTS = 5;
const REPLICAS = 5;
const PORT = 8080;
const RATE = Number(process.env['ROLLOUT_RATE'] ?? 2000);
/** Of 100 requests, those with a connection of their own. */
const FRESH = 20;
/** Share of the rate that has to be reached, or little is shown. */
const REACHED = 0.95;
const SETTLED_MS = 120_000;
const LISTENS = 'grep -q ":0050 .* 0A " /proc/net/tcp6';

describe('rollouts over five hosts under load', { skip, timeout: 900_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);
  const eventually = (what: string, check: () => Promise<boolean>) =>
    site.eventually(what, check, SETTLED_MS);
  const running = async () => {
    const format = ['--filter', 'desired-state=running', '--format', '{{.CurrentState}}'];
    const lines = (await docker('service', 'ps', ...format, 'web')).split('\n');
    return lines.filter((line) => line.startsWith('Running')).length;
  };
  const containers = async () => {
    const filter = ['--filter', 'label=com.docker.swarm.service.name=web'];
    const lists = await Promise.all(site.hosts.map((one) => one.ok('ps', '-q', ...filter)));
    return lists.join('\n').split('\n').filter(Boolean).length;
  };
  const settled = (replicas: number) =>
    eventually(`${replicas} tasks run`, async () => {
      return (await running()) === replicas && (await containers()) === replicas;
    });
  const load = () =>
    site.webLoad({ rate: RATE, fresh: FRESH, port: PORT, name: 'web' }, ...site.hosts);

  before(async () => {
    site = await Site.swarm(HOSTS);
    await docker(
      ...['service', 'create', '--detach', '--name', 'web', '--replicas', String(REPLICAS)],
      ...['--publish', `${PORT}:80`, '--health-cmd', LISTENS, '--health-interval', '500ms'],
      ...['--env', 'NAME={{.Node.Hostname}}/1', 'host', process.execPath, WEB],
    );
    await settled(REPLICAS);
  });
  after(() => site?.close());

  const steps: readonly (readonly [what: string, step: () => Promise<void>])[] = [
    [
      'a rolling update',
      async () => {
        const env = ['--env-add', 'NAME={{.Node.Hostname}}/2'];
        await docker('service', 'update', '--detach', ...env, 'web');
        await eventually('it is complete', async () => {
          const format = ['--format', '{{.UpdateStatus.State}}'];
          return (await docker('service', 'inspect', ...format, 'web')) === 'completed';
        });
      },
    ],
    [
      'a scale-up and a scale-down',
      async () => {
        for (const replicas of [2 * REPLICAS, 2, REPLICAS]) {
          await docker('service', 'scale', '--detach', `web=${replicas}`);
          await settled(replicas);
        }
      },
    ],
    [
      'a drain of a node',
      async () => {
        await docker('node', 'update', '--availability', 'drain', 'host5');
        await eventually('it has no task', async () => (await host(5).taskOf('web')) === '');
        await settled(REPLICAS);
      },
    ],
  ];
  for (const [what, step] of steps) {
    test(`${what} fails no request`, async (t) => {
      const asking: Load = load();
      const from = performance.now();
      await step();
      const seconds = (performance.now() - from) / 1000;
      const { asked, failed, faults, seen, connections, rate = 0 } = await asking.end();
      t.diagnostic(JSON.stringify({ faults, seen }));
      figure(t, {
        experiment: 'cluster',
        what: `${what} of a service over ${HOSTS} hosts`,
        measured: `${failed} of ${asked} failed in ${seconds.toFixed(0)} s, ${rate} requests/s over ${connections} connections`,
        wanted: `0 failed under ${RATE} requests/s through the mesh`,
      });
      assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
      assert.ok(rate >= REACHED * RATE, `${rate} of ${RATE} requests/s were asked`);
    });
  }
});
