import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { seededRng } from '../../../src/base/rng.ts';
import { endAll } from '../../support/processes.ts';
import { HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

const ROUNDS = 8;
const SEED = Number(process.env['SLUICE_SEED'] ?? 1);

type Shown = {
  Id: string;
  Name: string;
  State: { Status: string; Pid: number };
  NetworkSettings: {
    SandboxKey: string;
    Networks: Record<string, { IPAddress: string; NetworkID: string }>;
  };
};

/** Orders of every kind, sent without waiting for one another. */
function burst(lab: Lab, round: number): Promise<unknown> {
  const name = (index: number) => `k${round}-${index}`;
  const run = (index: number) =>
    lab.docker(
      'run',
      '-d',
      '--name',
      name(index),
      '--network',
      'na',
      '-p',
      '80',
      'host',
      'sleep',
      '120',
    );
  return Promise.all([
    run(0).then(() => lab.docker('network', 'connect', 'bridge', name(0))),
    run(1).then(() => lab.docker('rm', '-f', name(1))),
    run(2).then(() => lab.docker('stop', '-t', '0', name(2))),
    lab
      .docker('network', 'create', `kn${round}`)
      .then(() => lab.docker('network', 'rm', `kn${round}`)),
    round > 0 ? lab.docker('rm', '-f', `k${round - 1}-0`) : undefined,
  ]);
}

async function containers(lab: Lab): Promise<Shown[]> {
  const ids = (await lab.ok('ps', '-aq')).split('\n').filter(Boolean);
  return ids.length === 0 ? [] : JSON.parse(await lab.ok('inspect', ...ids));
}

/** What has to hold whenever a daemon has taken over. */
async function check(lab: Lab): Promise<void> {
  const all = await containers(lab);
  const seen = new Set<string>();
  for (const { Name, State, NetworkSettings } of all) {
    const running = State.Status === 'running';
    assert.equal(existsSync(`/proc/${State.Pid}/stat`) && State.Pid > 0, running, Name);
    for (const { IPAddress, NetworkID } of Object.values(NetworkSettings.Networks)) {
      assert.equal(IPAddress !== '', running, `${Name} has an address when it runs`);
      if (!running) continue;
      const key = `${NetworkID} ${IPAddress}`;
      assert.ok(!seen.has(key), `${IPAddress} twice`);
      seen.add(key);
      const { out } = await lab.host(
        'nsenter',
        `--net=${NetworkSettings.SandboxKey}`,
        'ip',
        '-4',
        'addr',
      );
      assert.match(out, new RegExp(`inet ${IPAddress.replaceAll('.', '\\.')}/`), Name);
    }
  }
  const links = (await lab.host('ip', '-br', 'link')).out.match(/^veth/gm) ?? [];
  assert.equal(links.length, seen.size, 'no link is left behind, none is missing');
  const bridges = (await lab.host('ip', '-br', 'link', 'show', 'type', 'bridge')).out.trim();
  const networks = (await lab.ok('network', 'ls', '-q', '--filter', 'driver=bridge')).split('\n');
  assert.equal(bridges.split('\n').length, networks.length, 'a bridge for each network');
}

rows(
  [],
  [
    row(
      'DD-27c',
      `killed at any moment, ${ROUNDS} times (seed ${SEED}): nothing lost, nothing left`,
      async (lab) => {
        const rng = seededRng(SEED);
        await lab.ok('network', 'create', 'na');
        await lab.serve('steady', ['tcp:80'], '--network', 'na', '-p', '8080:80');
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^steady /);
        const pid = await lab.inspect('steady', '{{.State.Pid}}');
        for (let round = 0; round < ROUNDS; round++) {
          const orders = burst(lab, round);
          await delay(rng.below(700));
          await lab.stop('SIGKILL');
          assert.match(
            await lab.ask('client', 'tcp', HOST, 8080),
            /^steady /,
            'while nobody is there',
          );
          await orders;
          await lab.start();
          await check(lab);
          assert.equal(await lab.inspect('steady', '{{.State.Pid}}'), pid);
          assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^steady /);
        }
      },
    ),
    row('DD-27d', 'a killed agent comes back to the same networks and tasks', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.serve('steady', ['tcp:80'], '--network', 'na', '-p', '8080:80');
      await lab.ok('run', '-d', '--name', 'other', '--network', 'na', 'host', 'sleep', '120');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^steady /);
      const pid = await lab.inspect('steady', '{{.State.Pid}}');
      endAll(lab.agents());
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^steady /, 'while it is gone');
      // The next one as well, before it takes orders.
      const another = async () => {
        const agents = lab.agents();
        endAll(agents);
        return String(agents.length);
      };
      await eventually(another, /[1-9]/);
      await eventually(() => lab.ask('other', 'tcp', 'steady', 80), /^steady /, 10_000);
      assert.equal(await lab.inspect('steady', '{{.State.Pid}}'), pid);
      await check(lab);
      await lab.ok('stop', '-t', '0', 'steady');
      assert.equal(await lab.inspect('steady', '{{.State.Status}}'), 'exited');
    }),
  ],
);
