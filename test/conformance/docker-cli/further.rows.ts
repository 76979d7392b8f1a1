import assert from 'node:assert/strict';
import { CLIENT, HOST, type Lab } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

/** What the client answers with to whom it was asked by. */
async function seenBy(lab: Lab, from: string): Promise<string> {
  return lab.ask(from, 'tcp', CLIENT, 7100);
}

rows(
  [],
  [
    row('DD-21', 'without iptables nothing is masqueraded and nothing kept apart', async (lab) => {
      await lab.fresh(['--iptables=false', '--bip', '172.17.0.1/16']);
      await lab.ok('network', 'create', '--subnet', '172.30.0.0/16', 'n1');
      await lab.ok('network', 'create', '--subnet', '172.31.0.0/16', 'n2');
      await lab.serve('aa', ['tcp:7000'], '--network', 'n1');
      await lab.serve('bb', ['tcp:7000'], '--network', 'n2');
      const end = await lab.serveOutside('outside', 'tcp:7100');
      await lab.client('ip', 'route', 'add', '172.30.0.0/15', 'via', HOST);
      try {
        const [aa, bb] = [await lab.addressOf('aa', 'n1'), await lab.addressOf('bb', 'n2')];
        await eventually(() => lab.ask('aa', 'tcp', bb, 7000), new RegExp(`bb.*${aa}`));
        await eventually(() => seenBy(lab, 'aa'), new RegExp(`outside.*${aa}`));
        await eventually(() => lab.ask('client', 'tcp', bb, 7000), new RegExp(`bb.*${CLIENT}`));
      } finally {
        end();
        await lab.client('ip', 'route', 'del', '172.30.0.0/15');
        await lab.fresh([]);
      }
    }),
    row('DD-21', 'icc=false needs iptables', async (lab) => {
      await lab.stop();
      const child = await lab.launch(['--iptables=false', '--icc=false']);
      await new Promise<void>((resolve) => {
        child.once('exit', () => resolve());
        if (child.exitCode !== null) resolve();
      });
      assert.match(lab.log, /You specified --iptables=false with --icc=false/);
      await lab.start([]);
    }),
    row('RS-04', 'inspection shows what an update has changed', async (lab) => {
      await lab.ok('create', '--name', 'aa', '-m', '64m', '--cpus', '1', 'host', 'sleep', '60');
      const limits = '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}';
      assert.equal(await lab.inspect('aa', limits), '67108864 1000000000 <no value>');
      await lab.ok('update', '-m', '32m', '--pids-limit', '9', '--restart', 'always', 'aa');
      assert.equal(await lab.inspect('aa', limits), '33554432 1000000000 9');
      assert.equal(await lab.inspect('aa', '{{.HostConfig.RestartPolicy.Name}}'), 'always');
      await lab.ok('update', '--pids-limit', '-1', 'aa');
      assert.equal(await lab.inspect('aa', limits), '33554432 1000000000 <no value>');
      const { err, out } = await lab.docker('update', '--cpu-shares', '512', 'aa');
      assert.match(`${out}${err}`, /CpuShares has no effect here/);
      assert.equal(await lab.inspect('aa', '{{.HostConfig.CpuShares}}'), '512');
    }),
    row('RA-16', 'a bridge that the operator made is used as it is and stays', async (lab) => {
      await lab.host('ip', 'link', 'add', 'op0', 'type', 'bridge');
      await lab.host('ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'op0');
      try {
        const name = ['-o', 'com.docker.network.bridge.name=op0'];
        await lab.ok('network', 'create', ...name, 'n1');
        const format = '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}';
        assert.equal(
          await lab.ok('network', 'inspect', '-f', format, 'n1'),
          '10.77.0.0/24 10.77.0.1',
        );
        await lab.serve('aa', ['tcp:80'], '--network', 'n1', '-p', '8080:80', '--ip', '10.77.0.9');
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /aa/);
        await eventually(() => lab.ask('host', 'tcp', '10.77.0.9', 80), /aa/);
        refused(await lab.docker('network', 'create', ...name, 'n2'), /same bridge name/);
        await lab.stop();
        await lab.start();
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /aa/);
        await lab.ok('rm', '-f', 'aa');
        await lab.ok('network', 'rm', 'n1');
        assert.match((await lab.host('ip', '-br', 'addr', 'show', 'op0')).out, /10\.77\.0\.1\/24/);
        const subnet = ['--subnet', '10.78.0.0/24'];
        await lab.ok('network', 'create', ...name, ...subnet, 'n3');
        const both = (await lab.host('ip', '-br', 'addr', 'show', 'op0')).out;
        assert.match(both, /10\.77\.0\.1\/24.*10\.78\.0\.1\/24/);
        await lab.ok('network', 'rm', 'n3');
      } finally {
        await lab.host('ip', 'link', 'del', 'op0');
      }
    }),
    row('RA-16', 'a link that is no bridge cannot be one', async (lab) => {
      const name = ['-o', 'com.docker.network.bridge.name=eth0'];
      refused(await lab.docker('network', 'create', ...name, 'n1'), /eth0.* is not a bridge/);
    }),
    row('RN-24', 'with icc=false a link opens the ports that are exposed, one way', async (lab) => {
      const apart = ['-o', 'com.docker.network.bridge.enable_icc=false'];
      await lab.ok('network', 'create', ...apart, 'n1');
      const on = ['--network', 'n1'];
      await lab.serve(
        'db',
        ['tcp:80', 'udp:81', 'tcp:82'],
        ...on,
        '--expose',
        '80',
        '--expose',
        '81/udp',
      );
      await lab.serve('web', ['tcp:80'], ...on, '--expose', '80', '--link', 'db:store');
      await lab.serve('other', ['tcp:80'], ...on);
      await eventually(() => lab.ask('web', 'tcp', 'store', 80), /^db /);
      await eventually(() => lab.ask('web', 'udp', 'store', 81), /^db /);
      const [web, db] = [await lab.addressOf('web', 'n1'), await lab.addressOf('db', 'n1')];
      assert.match(await lab.ask('web', 'tcp', db, 80), new RegExp(`^db ${web}`));
      const closed = await Promise.all([
        lab.ask('web', 'tcp', db, 82),
        lab.ask('db', 'tcp', web, 80),
        lab.ask('other', 'tcp', db, 80),
        lab.ask('other', 'tcp', web, 80),
      ]);
      for (const answer of closed) assert.doesNotMatch(answer, /^(db|web)/);
      await lab.ok('rm', '-f', 'db', 'other');
      await lab.serve('taker', ['tcp:80'], ...on);
      await lab.serve('db', ['tcp:80'], ...on, '--expose', '80');
      assert.notEqual(await lab.addressOf('db', 'n1'), db, 'it comes back with another address');
      await eventually(() => lab.ask('web', 'tcp', 'store', 80), /^db /);
      assert.doesNotMatch(
        await lab.ask('web', 'tcp', await lab.addressOf('taker', 'n1'), 80),
        /^taker/,
      );
    }),
    row('DD-20', 'icc=false on the default bridge, opened by links', async (lab) => {
      await lab.fresh(['--icc=false']);
      try {
        await lab.serve('db', ['tcp:80', 'tcp:81'], '--expose', '80');
        await lab.serve('web', ['tcp:80'], '--link', 'db');
        await eventually(() => lab.ask('web', 'tcp', 'db', 80), /^db /);
        assert.doesNotMatch(await lab.ask('web', 'tcp', 'db', 81), /^db/);
        await lab.ok('rm', '-f', 'db');
        await lab.serve('taker', ['tcp:80']);
        await lab.serve('db', ['tcp:80'], '--expose', '80');
        const address = await lab.addressOf('db');
        const hosts = await lab.ok('exec', 'web', 'cat', '/etc/hosts');
        assert.match(hosts, new RegExp(`^${address}\\tdb `, 'm'));
        await eventually(() => lab.ask('web', 'tcp', 'db', 80), /^db /);
      } finally {
        await lab.fresh([]);
      }
    }),
  ],
);
