import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Site } from '../e2e/site.ts';
import { missing } from '../support/docker-daemon.ts';
import { figure } from '../support/figures.ts';

const skip = missing() ?? false;
const WEB = fileURLToPath(new URL('../e2e/web.mjs', import.meta.url));
const WORKERS = 2;
const RATE = 400;
/** Of 100 requests, those with a connection of their own. */
const FRESH = 20;
const KILLS = 3;
/** Sooner after its start, the end of a worker would be taken for a crash loop. */
const KILL_EVERY_MS = 6000;
const CONFIG = `workers: ${WORKERS}
listeners:
  web: { bind: '0.0.0.0:80', protocol: http, cluster: true }
`;

describe('the gateways of a cluster of two hosts', { skip, timeout: 300_000 }, () => {
  let site: Site;

  before(async () => {
    site = await Site.swarm(2, async ({ hosts }) => {
      for (const { folder } of hosts) writeFileSync(join(folder, 'sluice.yaml'), CONFIG);
      return ['--config', '{DIR}/sluice.yaml'];
    });
    await site
      .host(1)
      .ok(
        ...['service', 'create', '--detach', '--name', 'app', '--mode', 'global'],
        ...['--label', 'com.docker.lb.hosts=app.example', '--label', 'com.docker.lb.port=80'],
        ...['--env', 'NAME={{.Node.Hostname}}', 'host', process.execPath, WEB],
      );
    for (const { address } of site.hosts) {
      await site.eventually('both tasks answer by every host', async () => {
        const ask = ['curl', '-s', '-H', 'Host: app.example', `http://${address}/`];
        const answers = [await site.client(...ask), await site.client(...ask)];
        return new Set(answers.map(({ out }) => out.split(' ')[0])).size === site.hosts.length;
      });
    }
  });
  after(() => site?.close());

  test('a worker is killed: requests on it fail, and nobody else', async (t) => {
    const host = site.host(2);
    const rate = { rate: RATE, fresh: FRESH, port: 80, name: 'app.example' };
    const other = site.webLoad(rate, site.host(1));
    const asking = site.webLoad(rate, host);
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(KILL_EVERY_MS);
      const before = host.workers;
      assert.equal(before.length, WORKERS);
      const [victim = 0] = before;
      process.kill(victim, 'SIGKILL');
      await site.eventually('another one is in its place', () => {
        const now = host.workers;
        return now.length === WORKERS && !now.includes(victim);
      });
    }
    await sleep(KILL_EVERY_MS);
    const { asked, failed, faults, seen } = await asking.end();
    const beside = await other.end();
    t.diagnostic(JSON.stringify({ faults, seen }));
    figure(t, {
      experiment: 'cluster',
      what: `a gateway's worker of one of two hosts is killed ${KILLS} times, ${RATE} requests/s to each host`,
      measured: `${failed} of ${asked} failed, by the other host ${beside.failed} of ${beside.asked}`,
      wanted: 'requests that are on it, and no other one',
    });
    assert.equal(beside.failed, 0, JSON.stringify(beside.faults));
    const wrong = Object.keys(faults).filter((fault) => !/ECONNRESET|closed without/.test(fault));
    assert.deepEqual(wrong, [], 'no connection is refused or waits in vain');
    assert.deepEqual(Object.keys(seen).sort(), ['host1', 'host2']);
  });
});
