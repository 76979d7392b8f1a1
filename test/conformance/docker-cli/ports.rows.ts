import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { HOST, HOST6 } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

const SLEEP = ['host', 'sleep', '60'];

rows(
  [],
  [
    row('RE-01', '--expose', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--expose',
        '80',
        '--expose',
        '7000-7002/udp',
        ...SLEEP,
      );
      assert.equal(await lab.ok('ps', '--format', '{{.Ports}}'), '80/tcp, 7000-7002/udp');
      assert.equal(await lab.ok('port', 'aa'), '');
    }),
    row('RE-02', '-P', async (lab) => {
      await lab.serve('aa', ['tcp:80', 'udp:53'], '-P', '--expose', '80', '--expose', '53/udp');
      const ports = await lab.ok('port', 'aa');
      const port = Number(/80\/tcp -> 0\.0\.0\.0:(\d+)/.exec(ports)?.[1]);
      const [low, high] = (await lab.host('cat', '/proc/sys/net/ipv4/ip_local_port_range')).out
        .split(/\s+/)
        .map(Number);
      assert.ok(port >= Number(low) && port <= Number(high), ports);
      await eventually(() => lab.ask('client', 'tcp', HOST, port), /^aa /);
      const udp = Number(/53\/udp -> 0\.0\.0\.0:(\d+)/.exec(ports)?.[1]);
      await eventually(() => lab.ask('client', 'udp', HOST, udp), /^aa /);
    }),
    row('RE-03', '-p IP:HOST:CONTAINER', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '127.0.0.1:8080:80');
      await eventually(() => lab.ask('host', 'tcp', '127.0.0.1', 8080), /^aa /);
      assert.doesNotMatch(await lab.ask('client', 'tcp', HOST, 8080), /aa/);
      assert.equal(await lab.ok('port', 'aa'), '80/tcp -> 127.0.0.1:8080');
    }),
    row('RE-03b', 'every address of one family', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '0.0.0.0:8080:80', '-p', '[::]:8081:80');
      assert.equal(await lab.ok('port', 'aa'), '80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8081');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      await eventually(() => lab.ask('client', 'tcp', HOST6, 8081), /^aa /);
      assert.doesNotMatch(await lab.ask('client', 'tcp', HOST6, 8080), /aa/);
      assert.doesNotMatch(await lab.ask('client', 'tcp', HOST, 8081), /aa/);
    }),
    row('RE-04', '-p IP::CONTAINER', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', `${HOST}::80`);
      const port = Number(/:(\d+)$/.exec(await lab.ok('port', 'aa', '80'))?.[1]);
      await eventually(() => lab.ask('client', 'tcp', HOST, port), /^aa /);
    }),
    row('RE-05', '-p HOST:CONTAINER, IPv4 and IPv6', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      assert.equal(await lab.ok('port', 'aa'), '80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa 198\.51\.100\.2$/);
      await eventually(() => lab.ask('client', 'tcp', HOST6, 8080), /^aa /);
      for (const address of ['127.0.0.1', HOST, '::1']) {
        await eventually(() => lab.ask('host', 'tcp', address, 8080), /^aa /);
      }
    }),
    row('RE-06', '-p CONTAINER', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '80');
      const port = Number(/0\.0\.0\.0:(\d+)/.exec(await lab.ok('port', 'aa'))?.[1]);
      await eventually(() => lab.ask('client', 'tcp', HOST, port), /^aa /);
    }),
    row('RE-07', 'ranges of equal length', async (lab) => {
      await lab.serve('aa', ['tcp:1234', 'tcp:1235', 'tcp:1236'], '-p', '1234-1236:1234-1236/tcp');
      for (const port of [1234, 1235, 1236]) {
        await eventually(() => lab.ask('client', 'tcp', HOST, port), /^aa /);
      }
    }),
    row('RE-08', 'ranges of other lengths', async (lab) => {
      refused(
        await lab.docker('run', '-d', '-p', '1234-1237:1234-1236/tcp', ...SLEEP),
        /invalid ranges specified for container and host Ports/i,
        125,
      );
    }),
    row('RE-09', 'a range for one port gives its first free one', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', '-p', '1234-1236:1234/tcp', ...SLEEP);
      await lab.ok('run', '-d', '--name', 'bb', '-p', '1234-1236:1234/tcp', ...SLEEP);
      assert.match(await lab.ok('port', 'aa'), /0\.0\.0\.0:1234/);
      assert.match(await lab.ok('port', 'bb'), /0\.0\.0\.0:1235/);
    }),
    row('RE-10', 'a port that is taken', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', '-p', '8080:80', ...SLEEP);
      const outcome = await lab.docker('run', '-d', '--name', 'bb', '-p', '8080:80', ...SLEEP);
      refused(
        outcome,
        /driver failed programming external connectivity on endpoint bb \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated/,
        125,
      );
      assert.equal(await lab.inspect('bb', '{{.State.Status}}'), 'created');
    }),
    row('RE-10b', 'a port that a foreign program has: its name is told', async (lab) => {
      const foreign = lab.host(
        'timeout',
        '60',
        process.execPath,
        '-e',
        'require("net").createServer((socket) => socket.end("foreign")).listen(8080)',
      );
      await eventually(() => lab.ask('host', 'tcp', '127.0.0.1', 8080), /^foreign/);
      refused(
        await lab.docker('run', '-d', '-p', '8080:80', ...SLEEP),
        /address already in use/,
        125,
      );
      await foreign;
    }),
    row('RE-11', 'udp and sctp', async (lab) => {
      await lab.serve('aa', ['udp:53'], '-p', '5353:53/udp');
      await eventually(() => lab.ask('client', 'udp', HOST, 5353), /^aa 198\.51\.100\.2$/);
      assert.doesNotMatch(await lab.ask('client', 'tcp', HOST, 5353), /aa/);
      await lab.ok('run', '-d', '--name', 'bb', '-p', '8088:80/sctp', ...SLEEP);
      assert.match(await lab.ok('port', 'bb'), /80\/sctp -> 0\.0\.0\.0:8088/);
    }),
    row('RE-12', 'docker port', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', '-p', '127.0.0.1:4321:7890', ...SLEEP);
      assert.equal(await lab.ok('port', 'aa'), '7890/tcp -> 127.0.0.1:4321');
    }),
    row('RE-13', 'container port and host port differ', async (lab) => {
      await lab.serve('aa', ['tcp:42800'], '-p', '80:42800');
      await eventually(() => lab.ask('client', 'tcp', HOST, 80), /^aa /);
    }),
    row('RA-19', 'publish from a network of one’s own', async (lab) => {
      await lab.ok('network', 'create', '--subnet', '10.0.0.0/24', 'my_bridge');
      await lab.serve(
        'c2',
        ['tcp:80'],
        '--network',
        'my_bridge',
        '-p',
        '5000:80',
        '-p',
        `${HOST}:5001:80`,
      );
      await eventually(() => lab.ask('client', 'tcp', HOST, 5000), /^c2 /);
      await eventually(() => lab.ask('client', 'tcp', HOST, 5001), /^c2 /);
    }),
    row('RA-20', 'outsiders reach the host’s port, never the container', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '5000:80');
      await eventually(() => lab.ask('client', 'tcp', HOST, 5000), /^aa /);
      await lab.client('ip', 'route', 'add', '172.17.0.0/16', 'via', HOST);
      const answer = await lab.ask('client', 'tcp', await lab.addressOf('aa'), 80);
      await lab.client('ip', 'route', 'del', '172.17.0.0/16');
      assert.doesNotMatch(answer, /aa/);
    }),
    row('RA-53', 'a published port joins containers of two hosts', async (lab) => {
      await lab.serve('db', ['tcp:8500'], '-p', '8500:8500');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8500), /^db /);
    }),
    row('DP-01', 'ps shows ports', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'test',
        '-p',
        '127.0.0.1:1234:9876',
        '-p',
        '127.0.0.1:4321:7890',
        ...SLEEP,
      );
      assert.equal(
        await lab.ok('ps', '--format', '{{.Ports}}'),
        '127.0.0.1:4321->7890/tcp, 127.0.0.1:1234->9876/tcp',
      );
    }),
    row('DP-02', 'port CONTAINER', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '-p', '1234:9876', '-p', '4321:7890', ...SLEEP);
      const lines = (await lab.ok('port', 'test')).split('\n');
      assert.deepEqual(lines, [
        '7890/tcp -> 0.0.0.0:4321',
        '7890/tcp -> [::]:4321',
        '9876/tcp -> 0.0.0.0:1234',
        '9876/tcp -> [::]:1234',
      ]);
    }),
    row('DP-03', 'port CONTAINER PORT/tcp', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '-p', '4321:7890', ...SLEEP);
      assert.match(await lab.ok('port', 'test', '7890/tcp'), /^0\.0\.0\.0:4321/);
    }),
    row('DP-04', 'port CONTAINER PORT/udp', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '-p', '4321:7890', ...SLEEP);
      refused(
        await lab.docker('port', 'test', '7890/udp'),
        /no public port '7890\/udp' published for test/i,
      );
    }),
    row('DP-05', 'port CONTAINER PORT', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '-p', '4321:7890', ...SLEEP);
      assert.match(await lab.ok('port', 'test', '7890'), /^0\.0\.0\.0:4321/);
    }),
    row('RE-17', '--health-*', async (lab) => {
      const options = [
        '--health-cmd=stat /etc/passwd || exit 1',
        '--health-interval=2s',
        '--health-retries',
        '4',
      ];
      await lab.ok(
        'run',
        '-d',
        '--name',
        'test',
        ...options,
        '--health-timeout',
        '3s',
        '--health-start-period',
        '5s',
        ...SLEEP,
      );
      const check = JSON.parse(await lab.inspect('test', '{{json .Config.Healthcheck}}'));
      assert.deepEqual(check.Test, ['CMD-SHELL', 'stat /etc/passwd || exit 1']);
      assert.deepEqual(
        [check.Interval, check.Retries, check.Timeout, check.StartPeriod],
        [2e9, 4, 3e9, 5e9],
      );
    }),
    row('RE-18', '--no-healthcheck', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '--no-healthcheck', ...SLEEP);
      assert.equal(await lab.inspect('test', '{{json .State.Health}}'), 'null');
      refused(
        await lab.docker('run', '-d', '--no-healthcheck', '--health-cmd', 'true', ...SLEEP),
        /no-healthcheck conflicts with --health-\* options/,
        125,
      );
    }),
    row('RE-19', 'defaults of health checks', async (lab) => {
      await lab.ok('run', '-d', '--name', 'test', '--health-cmd', 'true', ...SLEEP);
      const check = JSON.parse(await lab.inspect('test', '{{json .Config.Healthcheck}}'));
      assert.deepEqual([check.Interval, check.Retries, check.Timeout], [30e9, 3, 30e9]);
    }),
    row('RE-20', 'starting, then healthy', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'test',
        '--health-cmd',
        'true',
        '--health-interval',
        '500ms',
        ...SLEEP,
      );
      assert.equal(await lab.inspect('test', '{{.State.Health.Status}}'), 'starting');
      await eventually(() => lab.inspect('test', '{{.State.Health.Status}}'), /^healthy$/);
    }),
    row('RE-21', 'a file that goes makes it unhealthy', async (lab) => {
      const file = `${lab.folder}/alive`;
      await lab.host('touch', file);
      const check = [
        '--health-cmd',
        `stat ${file}`,
        '--health-interval',
        '200ms',
        '--health-retries',
        '3',
      ];
      await lab.ok('run', '-d', '--name', 'test', ...check, ...SLEEP);
      await eventually(() => lab.inspect('test', '{{.State.Health.Status}}'), /^healthy$/);
      await lab.ok('exec', 'test', 'rm', file);
      await eventually(() => lab.inspect('test', '{{.State.Health.Status}}'), /^unhealthy$/);
      const health = JSON.parse(await lab.inspect('test', '{{json .State.Health}}'));
      assert.ok(health.FailingStreak >= 3);
      assert.ok(health.Log.length <= 5 && health.Log.at(-1).ExitCode !== 0);
      assert.match(health.Log.at(-1).Output, /No such file/);
    }),
    row('RE-22', 'ps shows health', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'test',
        '--health-cmd',
        'true',
        '--health-interval',
        '500ms',
        ...SLEEP,
      );
      assert.match(await lab.ok('ps', '--format', '{{.Status}}'), /^Up .* \(health: starting\)$/);
      await eventually(() => lab.ok('ps', '--format', '{{.Status}}'), /^Up .* \(healthy\)$/);
    }),
    row('RE-23', 'events of health', async (lab) => {
      const since = String(Math.floor(Date.now() / 1000) - 1);
      await lab.ok(
        'run',
        '-d',
        '--name',
        'test',
        '--health-cmd',
        'true',
        '--health-interval',
        '300ms',
        ...SLEEP,
      );
      await eventually(() => lab.inspect('test', '{{.State.Health.Status}}'), /^healthy$/);
      // The client asks up to a whole second.
      await delay(1100);
      const out = await lab.ok(
        'events',
        '--since',
        since,
        '--until',
        '0s',
        '--filter',
        'event=health_status',
      );
      assert.match(out, /health_status: healthy/);
    }),
  ],
);
