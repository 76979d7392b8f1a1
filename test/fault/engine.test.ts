import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type LoadResult, Site, type SiteHost, until } from '../e2e/site.ts';
import { missing, run } from '../support/docker-daemon.ts';
import { figure, ms } from '../support/figures.ts';
import { seeded } from '../support/seed.ts';

const skip = missing();
const WEB = fileURLToPath(new URL('../e2e/web.mjs', import.meta.url));
const RATE = 100;
const PORT = 8080;
const ECHO_PORT = 8081;
const AWAY_MS = Number(process.env['AGENT_AWAY_SECONDS'] ?? 60) * 1000;
const ROUNDS = Number(process.env['CHURN_ROUNDS'] ?? 1000);
const AGENT_KILLS = 5;
const LOOK_EVERY_MS = 100;
const MAX_SILENCE_MS = 1000;
const STILL_MS = 30_000;
const REPLACING_RATE = 500;
const REPLACEMENTS = 100;
const REPLACED_EVERY_MS = 200;
const REMOVALS = 30;
const REPAIRED_MS = 2000;
const AT_ONCE = 4;
/** Of how many rounds one kills the daemon. */
const KILLED_OF = 40;
const DISK = 'size=32m';

describe('one host and its engine', { skip, timeout: 1_800_000 }, () => {
  let site: Site;
  let host: SiteHost;
  let data = '';

  before(async () => {
    // Its state is on a disk of its own, which can be filled.
    site = await Site.open(1, async ({ folder }) => {
      data = join(folder, 'host1', 'data');
      mkdirSync(data, { recursive: true });
      const { code, err } = await run(['mount', '-t', 'tmpfs', '-o', DISK, 'sluice-test', data]);
      assert.equal(code, 0, err);
      return [];
    });
    host = site.host(1);
    await host.ok('network', 'create', 'back');
    const served = ['--network', 'back', '-p', `${PORT}:80`, '-e', 'NAME=web'];
    await host.ok('run', '-d', '--name', 'web', ...served, 'host', process.execPath, WEB);
    const echo = site.serving('echo', 'tcp:80');
    await host.ok('run', '-d', '--name', 'echo', '-p', `${ECHO_PORT}:80`, 'host', ...echo);
    await until('it is served', async () =>
      (await site.client('curl', '-sf', `http://${host.address}:${PORT}/`)).out.startsWith('web'),
    );
  });

  after(async () => {
    // Lazily: the daemon has it open until the site is closed.
    if (data !== '') await run(['umount', '--lazy', data]);
    await site?.close();
  });

  /** New connections and a kept one, from another host. */
  const asking = (rate = RATE) => {
    const loads = [site.load(rate, ECHO_PORT, host.address), site.steady(host, 'web', PORT)];
    return async () => {
      const [fresh, kept] = await Promise.all(loads.map((one) => one.end()));
      assert.ok(fresh && kept);
      return { fresh, kept };
    };
  };
  const said = ({ fresh, kept }: { fresh: LoadResult; kept: LoadResult }) =>
    `${fresh.failed} of ${fresh.asked} new connections and ${kept.failed} of ${kept.asked} requests of a kept one failed`;
  const unharmed = (all: { fresh: LoadResult; kept: LoadResult }) => {
    assert.ok(all.fresh.asked > 0 && all.kept.asked > 0);
    assert.equal(all.fresh.failed + all.kept.failed, 0, JSON.stringify(all));
    assert.equal(all.kept.connections, 1, 'the kept connection is one');
  };
  /** What the kernel holds of the host: rules without counters, links, sockets, addresses. */
  const kernel = async () => {
    const [rules, links, sockets] = await Promise.all([
      host.run('nft', '-s', 'list', 'ruleset'),
      host.run('ip', '-br', '-o', 'addr'),
      host.run('ss', '-Hlntu'),
    ]);
    const bound = sockets.out
      .split('\n')
      .map((line) => line.trim().split(/\s+/).slice(0, 5).join(' '));
    // Elements of a set are listed in any order.
    const parts = rules.out.split(/[,{}\n]/).map((part) => part.trim());
    return { rules: parts.sort(), links: links.out.split('\n').sort(), bound: bound.sort() };
  };

  /** How long names went without an answer at most, in milliseconds; lookups go on all the time. */
  const longestSilenceMs = async () => {
    const times = (await host.ok('logs', 'looker')).split('\n').map(Number);
    assert.ok(
      times.every((time) => time > 0),
      'each lookup found the name',
    );
    return Math.max(...times.slice(1).map((time, at) => time - (times[at] ?? 0))) - LOOK_EVERY_MS;
  };
  const look = async () => {
    const pause = `sleep ${LOOK_EVERY_MS / 1000}`;
    const loop = `while :; do getent hosts web >/dev/null && date +%s%3N || echo no; ${pause}; done`;
    await host.ok('run', '-d', '--name', 'looker', '--network', 'back', 'host', 'sh', '-c', loop);
    await until('names are found', async () => (await host.ok('logs', 'looker')) !== '');
  };
  const works = () =>
    until('it is whole', async () => (await host.docker('exec', 'web', 'true')).code === 0);

  test('the agent is killed', async (t) => {
    await look();
    const had = await kernel();
    const end = asking();
    for (let time = 0; time < AGENT_KILLS; time++) {
      const [agent] = host.agents;
      assert.ok(agent);
      process.kill(agent, 'SIGKILL');
      await until('there is another', () => host.agents.some((pid) => pid !== agent));
      await works();
      const before = (await host.ok('logs', 'looker')).length;
      const answers = async () => (await host.ok('logs', 'looker')).length > before;
      await until('names are answered', answers);
    }
    await delay(2000);
    const seen = await end();
    const silenceMs = await longestSilenceMs();
    figure(t, {
      experiment: '14',
      what: `the agent killed ${AGENT_KILLS} times, ${RATE} new connections/s, names asked for all the time`,
      measured: `${said(seen)}; no lookup failed, the longest took ${ms(silenceMs)}`,
      wanted: '0 failed, names gone for less than 1 s; rules, links and sockets as before',
    });
    unharmed(seen);
    assert.ok(silenceMs < MAX_SILENCE_MS, `a lookup took ${silenceMs} ms`);
    assert.deepEqual(await kernel(), had);
    await host.ok('rm', '-f', 'looker');
  });

  test('the resolver is killed', async (t) => {
    await look();
    const had = await kernel();
    for (let time = 0; time < AGENT_KILLS; time++) {
      const [resolver] = host.resolvers;
      assert.ok(resolver);
      process.kill(resolver, 'SIGKILL');
      await until('there is another', () => host.resolvers.some((pid) => pid !== resolver));
      await delay(2000);
    }
    const silenceMs = await longestSilenceMs();
    figure(t, {
      experiment: '14',
      what: `the resolver killed ${AGENT_KILLS} times, names asked for all the time`,
      measured: `no lookup failed, the longest took ${ms(silenceMs)}`,
      wanted: 'no lookup fails; sockets as before',
    });
    assert.deepEqual(await kernel(), had);
    await host.ok('rm', '-f', 'looker');
  });

  test('daemon and agent are killed, and come back after a minute', async (t) => {
    await look();
    const had = await kernel();
    const end = asking();
    const agents = host.agents;
    await host.stop('SIGKILL');
    for (const agent of agents) process.kill(agent, 'SIGKILL');
    await delay(AWAY_MS);
    assert.deepEqual(host.agents, []);
    await host.start();
    await works();
    const seen = await end();
    const silenceMs = await longestSilenceMs();
    figure(t, {
      experiment: '14',
      what: `daemon and agent killed for ${AWAY_MS / 1000} s, ${RATE} new connections/s, names asked for all the time`,
      measured: `${said(seen)}; no lookup failed, the longest took ${ms(silenceMs)}`,
      wanted: '0 failed, names gone for less than 1 s; rules, links and sockets as before',
    });
    unharmed(seen);
    assert.ok(silenceMs < MAX_SILENCE_MS, `a lookup took ${silenceMs} ms`);
    assert.deepEqual(await kernel(), had);
    await host.ok('rm', '-f', 'looker');
  });

  test('the resolver stands still', async (t) => {
    const [resolver] = host.resolvers;
    assert.ok(resolver);
    process.kill(resolver, 'SIGSTOP');
    const from = performance.now();
    await until('there is another', () => host.resolvers.some((pid) => pid !== resolver), 60_000);
    const found = async () =>
      (await host.docker('exec', 'web', 'getent', 'hosts', 'web')).code === 0;
    await until('names are answered', found);
    const tookMs = performance.now() - from;
    figure(t, {
      experiment: '14',
      what: 'the resolver stands still',
      measured: `another answers after ${ms(tookMs)}`,
      wanted: 'within a minute; the one that stood still is gone',
    });
    await until('it is gone', () => !host.resolvers.includes(resolver));
  });

  test('the agent stands still', async (t) => {
    await look();
    const had = await kernel();
    const end = asking();
    const [agent] = host.agents;
    assert.ok(agent);
    process.kill(agent, 'SIGSTOP');
    await delay(STILL_MS);
    process.kill(agent, 'SIGCONT');
    await works();
    const seen = await end();
    const silenceMs = await longestSilenceMs();
    figure(t, {
      experiment: '14',
      what: `the agent stands still for ${STILL_MS / 1000} s, ${RATE} new connections/s, names asked for all the time`,
      measured: `${said(seen)}; no lookup failed, the longest took ${ms(silenceMs)}`,
      wanted:
        '0 failed, names gone for less than 1 s; the same agent; rules, links and sockets as before',
    });
    unharmed(seen);
    assert.ok(silenceMs < MAX_SILENCE_MS, `a lookup took ${silenceMs} ms`);
    assert.deepEqual(host.agents, [agent]);
    assert.deepEqual(await kernel(), had);
    await host.ok('rm', '-f', 'looker');
  });

  const tables = async () => (await host.run('nft', 'list', 'tables', 'inet')).out;
  /** What the daemon's table is called. */
  const tableName = async () => {
    const name = /^table inet (sl[0-9a-f]+)$/m.exec(await tables())?.[1];
    assert.ok(name);
    return name;
  };

  test('the firewall table is replaced by an equal one, with flows', async (t) => {
    const had = await kernel();
    const name = await tableName();
    const replace = `{ echo "delete table inet ${name}"; nft list table inet ${name}; } | nft -f -`;
    const end = asking(REPLACING_RATE);
    for (let time = 0; time < REPLACEMENTS; time++) {
      const { code, err } = await host.run('sh', '-c', replace);
      assert.equal(code, 0, err);
      await delay(REPLACED_EVERY_MS);
    }
    const seen = await end();
    figure(t, {
      experiment: '15',
      what: `the firewall table replaced ${REPLACEMENTS} times, ${REPLACING_RATE} new connections/s`,
      measured: said(seen),
      wanted: '0 failed; rules as before',
    });
    unharmed(seen);
    assert.deepEqual(await kernel(), had);
  });

  test('the firewall table is removed by somebody', async (t) => {
    const had = await kernel();
    const name = await tableName();
    let worstMs = 0;
    for (let time = 0; time < REMOVALS; time++) {
      assert.equal((await host.run('nft', 'delete', 'table', 'inet', name)).code, 0);
      const from = performance.now();
      await until('the table is back', async () => (await tables()).includes(name));
      worstMs = Math.max(worstMs, performance.now() - from);
    }
    figure(t, {
      experiment: '3.6',
      what: `the firewall table removed ${REMOVALS} times`,
      measured: `back after ${ms(worstMs)} at most`,
      wanted: 'back in 2 s; rules as before',
    });
    assert.ok(worstMs < REPAIRED_MS, `it took ${worstMs} ms`);
    assert.deepEqual(await kernel(), had);
  });

  test('the disk of its state is full', async (t) => {
    const pid = host.pid;
    const end = asking();
    const filler = join(data, 'filler');
    await run(['dd', 'if=/dev/zero', `of=${filler}`, 'bs=4k']);
    const refusals: string[] = [];
    for (let at = 0; at < 20; at++) {
      const { code, err } = await host.docker('network', 'create', `full${at}`);
      if (code !== 0) refusals.push(err.trim());
    }
    const { out: meanwhile } = await host.docker('ps', '--format', '{{.Names}}');
    rmSync(filler);
    const first = await host.docker('network', 'create', 'afterwards');
    const seen = await end();
    figure(t, {
      experiment: '22',
      what: 'no space for the state, 20 networks are asked for',
      measured: `${refusals.length} refused (${refusals.at(-1)}); ${said(seen)}; with space again: exit ${first.code}`,
      wanted: 'refused in words, 0 failed, as before with space again',
    });
    assert.ok(refusals.length > 0);
    for (const refusal of refusals) assert.match(refusal, /full|space/);
    assert.match(meanwhile, /web/);
    assert.equal(first.code, 0, first.err);
    assert.equal(host.pid, pid);
    unharmed(seen);
    await host.ok('network', 'prune', '-f');
  });

  const victims = {
    daemon: async () => {
      await host.stop('SIGKILL');
      await host.start();
    },
    agent: async () => {
      const [agent] = host.agents;
      assert.ok(agent);
      process.kill(agent, 'SIGKILL');
      await until('there is another', () => host.agents.some((pid) => pid !== agent));
      await works();
    },
  };
  for (const [victim, kill] of Object.entries(victims)) {
    test(`networks and containers come and go, and the ${victim} is killed`, async (t) => {
      const rng = seeded(t);
      const had = await kernel();
      const end = asking();
      let [kills, refused] = [0, 0];
      const round = async (name: string) => {
        const orders = [
          ['network', 'create', name],
          ['run', '-d', '--name', name, '--network', name, '-p', '80', 'host', 'sleep', '600'],
          ['kill', name],
          ['rm', '-f', name],
          ['network', 'rm', name],
        ];
        for (const order of orders) if ((await host.docker(...order)).code !== 0) refused++;
      };
      for (let at = 0; at < ROUNDS; at += AT_ONCE) {
        const names = Array.from({ length: AT_ONCE }, (_, index) => `churn${at + index}`);
        const going = Promise.all(names.map(round));
        if (rng.below(KILLED_OF / AT_ONCE) === 0) {
          await delay(rng.below(1000));
          await kill();
          kills++;
        }
        await going;
      }
      const left = (await host.ok('ps', '-aq', '--filter', 'name=churn'))
        .split('\n')
        .filter(Boolean);
      if (left.length > 0) await host.ok('rm', '-f', ...left);
      await host.ok('network', 'prune', '-f');
      const seen = await end();
      const has = await kernel();
      figure(t, {
        experiment: '36',
        what: `${ROUNDS} networks with a container each, made and removed; the ${victim} killed ${kills} times`,
        measured: `${refused} orders met no ${victim} or came too late; ${said(seen)}; kernel as before: ${JSON.stringify(has) === JSON.stringify(had)}`,
        wanted: '0 failed; no namespace, link, rule, address or socket left',
      });
      assert.ok(kills > 0);
      assert.deepEqual(has, had);
      unharmed(seen);
    });
  }
});
