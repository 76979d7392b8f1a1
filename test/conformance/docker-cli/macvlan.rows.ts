import assert from 'node:assert/strict';
import { CLIENT } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

const SLEEP = ['host', 'sleep', '60'];
const LAN = ['--subnet', '198.51.100.0/24', '--gateway', CLIENT];

rows(
  [],
  [
    row('RA-30', 'macvlan: addresses of the LAN, members reach each other', async (lab) => {
      await lab.ok('network', 'create', '-d', 'macvlan', ...LAN, '-o', 'parent=eth0', 'mvnet');
      await lab.serve('c1', ['tcp:80'], '--network', 'mvnet', '--ip', '198.51.100.50');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c2',
        '--network',
        'mvnet',
        '--ip',
        '198.51.100.51',
        ...SLEEP,
      );
      await eventually(() => lab.ask('c2', 'tcp', '198.51.100.50', 80), /^c1 198\.51\.100\.51$/);
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.50', 80), /^c1 198\.51\.100\.2$/);
      assert.doesNotMatch(await lab.ask('host', 'tcp', '198.51.100.50', 80), /c1/);
    }),
    row('DB-06', 'macvlan: own address and MAC on the LAN, no NAT', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.ok('network', 'create', '-d', 'macvlan', ...LAN, '-o', 'parent=eth0', 'mvnet');
        await lab.ok(
          'run',
          '-d',
          '--name',
          'c1',
          '--network',
          'mvnet',
          '--ip',
          '198.51.100.50',
          ...SLEEP,
        );
        await eventually(() => lab.ask('c1', 'tcp', CLIENT, 80), /^outside 198\.51\.100\.50$/);
        const mac = await lab.inspect('c1', '{{.NetworkSettings.Networks.mvnet.MacAddress}}');
        assert.match(
          (await lab.client('ip', 'neigh')).out,
          new RegExp(`198\\.51\\.100\\.50 .*${mac}`),
        );
      } finally {
        end();
      }
    }),
    row('DB-09', 'macvlan names are local', async (lab) => {
      await lab.ok('network', 'create', '-d', 'macvlan', ...LAN, '-o', 'parent=eth0', 'mvnet');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c1',
        '--network',
        'mvnet',
        '--ip',
        '198.51.100.50',
        ...SLEEP,
      );
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c2',
        '--network',
        'mvnet',
        '--ip',
        '198.51.100.51',
        ...SLEEP,
      );
      assert.match(await lab.ok('exec', 'c2', 'getent', 'ahostsv4', 'c1'), /^198\.51\.100\.50/);
    }),
    row('RA-31', 'VLAN sub-interfaces come and go with their networks', async (lab) => {
      const probe = await lab.host(
        'ip',
        'link',
        'add',
        'link',
        'eth0',
        'name',
        'eth0.99',
        'type',
        'vlan',
        'id',
        '99',
      );
      const bad = ['network', 'create', '-d', 'macvlan', '-o', 'parent=eth0.x', 'bad'];
      refused(
        await lab.docker(...bad),
        /invalid subinterface vlan name eth0\.x, example formatting is eth0\.10/,
      );
      if (probe.code !== 0)
        return 'this kernel has no 802.1q links; the names are checked all the same';
      await lab.host('ip', 'link', 'del', 'eth0.99');
      for (const vlan of [10, 20]) {
        const subnet = ['--subnet', `192.168.${vlan}.0/24`, '--gateway', `192.168.${vlan}.1`];
        await lab.ok(
          'network',
          'create',
          '-d',
          'macvlan',
          ...subnet,
          '-o',
          `parent=eth0.${vlan}`,
          `mv${vlan}`,
        );
      }
      assert.match((await lab.host('ip', '-br', 'link')).out, /eth0\.10@.*\n.*eth0\.20@/);
      await lab.ok('network', 'rm', 'mv10', 'mv20');
      assert.doesNotMatch((await lab.host('ip', '-br', 'link')).out, /eth0\./);
      return undefined;
    }),
    row('RA-32', 'a parent that is missing, and none at all', async (lab) => {
      const create = ['network', 'create', '-d', 'macvlan', '--subnet', '10.66.0.0/24'];
      const outcome = await lab.docker(...create, '-o', 'parent=nope0', 'na');
      if (/dummy|Unknown device type/.test(outcome.err)) return 'this kernel has no dummy links';
      refused(outcome, /the requested parent interface nope0 was not found on the Docker host/);
      const id = await lab.docker(...create, 'nb');
      if (id.code !== 0 && /dummy|not supported|Unknown device type/.test(id.err)) {
        return 'the parent is refused as it should be; this kernel has no dummy links';
      }
      assert.equal((await lab.host('ip', 'link', 'show', `dm-${id.out.slice(0, 12)}`)).code, 0);
      return undefined;
    }),
    row('DB-07', 'macvlan networks are apart on one host', async (lab) => {
      await lab.ok('network', 'create', '-d', 'macvlan', ...LAN, '-o', 'parent=eth0', 'mva');
      const other = ['--subnet', '203.0.113.0/24', '--gateway', '203.0.113.1', '-o', 'parent=eth0'];
      await lab.ok('network', 'create', '-d', 'macvlan', ...other, 'mvb');
      await lab.serve('c1', ['tcp:80'], '--network', 'mva', '--ip', '198.51.100.50');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c2',
        '--network',
        'mvb',
        '--ip',
        '203.0.113.9',
        ...SLEEP,
      );
      assert.doesNotMatch(await lab.ask('c2', 'tcp', '198.51.100.50', 80), /c1/);
    }),
    row('DB-08', 'macvlan on two sub-interfaces', async (lab) => {
      const probe = await lab.host(
        'ip',
        'link',
        'add',
        'link',
        'eth0',
        'name',
        'eth0.98',
        'type',
        'vlan',
        'id',
        '98',
      );
      if (probe.code !== 0) return 'this kernel has no 802.1q links';
      await lab.host('ip', 'link', 'del', 'eth0.98');
      for (const vlan of [10, 20]) {
        await lab.ok(
          'network',
          'create',
          '-d',
          'macvlan',
          '--subnet',
          `192.168.${vlan}.0/24`,
          '-o',
          `parent=eth0.${vlan}`,
          `mv${vlan}`,
        );
        await lab.ok('run', '-d', '--name', `c${vlan}`, '--network', `mv${vlan}`, ...SLEEP);
      }
      assert.match(await lab.addressOf('c20', 'mv20'), /^192\.168\.20\./);
      return undefined;
    }),
    row('RA-56', 'containers of two machines meet on the LAN', async (lab) => {
      await lab.ok(
        'network',
        'create',
        '-d',
        'macvlan',
        ...LAN,
        '-o',
        'parent=eth0',
        'petsMacvlan',
      );
      await lab.serve('db', ['tcp:8500'], '--network', 'petsMacvlan', '--ip', '198.51.100.5');
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.5', 8500), /^db /);
    }),
  ],
);
