import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage, imageRow, makeArchive } from './busybox.ts';
import { HOST } from './lab.ts';
import { eventually, refused, rows } from './rows.ts';

rows(
  [],
  [
    imageRow('RG-01', 'an image that podman has runs; another is not there', async (lab) => {
      assert.equal(await lab.ok('run', '--rm', 'bb:1'), 'default');
      assert.match(await lab.ok('images'), /^bb\s+1\s+[0-9a-f]{12}\s/m);
      assert.equal(await lab.inspect('bb:1', '{{.Config.Env}}'), '[COLOUR=red]');
      refused(await lab.docker('run', '--rm', 'nope:1'), /docker\.io is blocked/, 125);
    }),
    imageRow('RG-06', 'foreground: two streams, exit code, environment', async (lab) => {
      const script = 'echo out; echo err >&2; echo $COLOUR $MORE; hostname; exit 3';
      const outcome = await lab.docker(
        ...['run', '--rm', '-h', 'thebox', '-e', 'MORE=blue', 'bb:1', 'sh', '-c', script],
      );
      assert.deepEqual(outcome, { code: 3, out: 'out\nred blue\nthebox\n', err: 'err\n' });
    }),
    imageRow('RG-09', 'input reaches the container and its end ends it', async (lab) => {
      const outcome = await lab.dockerWith('one\ntwo\n', 'run', '-i', '--rm', 'bb:1', 'cat');
      assert.deepEqual(outcome, { code: 0, out: 'one\ntwo\n', err: '' });
    }),
    imageRow('RR-13', '126 for what cannot be invoked, 127 for what is not there', async (lab) => {
      refused(await lab.docker('run', '--rm', 'bb:1', '/etc'), /permission denied|is a dir/, 126);
      refused(await lab.docker('run', '--rm', 'bb:1', 'foo'), /executable file not found/, 127);
    }),
    imageRow('RS-14', 'entrypoint of the image, replaced and cleared', async (lab) => {
      const change = ['--change', 'ENTRYPOINT ["/bin/echo", "from"]', '--change', 'CMD ["image"]'];
      await lab.ok('import', ...change, makeArchive(lab), 'entry:1');
      assert.equal(await lab.ok('run', '--rm', 'entry:1'), 'from image');
      assert.equal(await lab.ok('run', '--rm', 'entry:1', 'me'), 'from me');
      assert.equal(
        await lab.ok('run', '--rm', '--entrypoint', 'hostname', '-h', 'x1', 'entry:1'),
        'x1',
      );
      await lab.ok('rmi', 'entry:1');
    }),
    imageRow('BR-05', 'a container of an image is on our network, with our names', async (lab) => {
      await lab.ok('network', 'create', 'n1');
      const server = 'while true; do echo hello-from-db | nc -l -p 7000; done';
      await lab.ok('run', '-d', '--name', 'db', '--network', 'n1', 'bb:1', 'sh', '-c', server);
      await lab.serve('plain', ['tcp:7001'], '--network', 'n1');
      const ask = () =>
        lab.ok('run', '--rm', '--network', 'n1', 'bb:1', 'sh', '-c', 'nc db 7000 </dev/null; true');
      await eventually(ask, /hello-from-db/);
      const address = await lab.addressOf('db', 'n1');
      assert.match(await lab.ok('exec', 'db', 'ip', 'addr', 'show', 'eth0'), new RegExp(address));
      assert.match(
        await lab.ok('exec', 'db', 'cat', '/etc/resolv.conf'),
        /nameserver 127\.0\.0\.11/,
      );
      assert.match(await lab.ok('exec', 'db', 'cat', '/etc/hosts'), new RegExp(`${address}\\s`));
    }),
    imageRow('RE-05', 'a published port of a container of an image', async (lab) => {
      const server = 'while true; do echo published | nc -l -p 80; done';
      await lab.ok('run', '-d', '--name', 'web', '-p', '8080:80', 'bb:1', 'sh', '-c', server);
      assert.equal(await lab.ok('port', 'web', '80'), '0.0.0.0:8080\n[::]:8080');
      const ask = async () => (await lab.client('busybox', 'nc', '-w', '2', HOST, '8080')).out;
      await eventually(ask, /published/);
    }),
    imageRow('RG-02', 'logs, exec, top, stats, stop, start again, kill, rm', async (lab) => {
      const script =
        'trap "echo bye; exit 7" TERM; echo up; touch /tmp/kept; while :; do sleep 0.1; done';
      const id = await lab.ok('run', '-d', '--name', 'c1', 'bb:1', 'sh', '-c', script);
      await eventually(() => lab.ok('logs', 'c1'), /up/);
      refused(await lab.docker('exec', 'c1', 'sh', '-c', 'exit 5'), /^$/, 5);
      refused(await lab.docker('exec', 'c1', 'nope'), /executable file not found/, 127);
      const piped = await lab.dockerWith('abc', 'exec', '-i', 'c1', 'cat');
      assert.deepEqual(piped, { code: 0, out: 'abc', err: '' });
      assert.match(await lab.ok('top', 'c1'), /while :/);
      assert.match(await lab.ok('stats', '--no-stream'), /c1/);
      assert.match(await lab.ok('ps'), new RegExp(`${id.slice(0, 12)}\\s+bb:1\\s.*Up`));
      await lab.ok('stop', 'c1');
      assert.equal(await lab.inspect('c1', '{{.State.ExitCode}} {{.State.Status}}'), '7 exited');
      assert.match(await lab.ok('logs', 'c1'), /up\nbye/);
      await lab.ok('start', 'c1');
      assert.equal(await lab.ok('exec', 'c1', 'ls', '/tmp'), 'kept', 'its files stay');
      await lab.ok('kill', 'c1');
      assert.equal(await lab.inspect('c1', '{{.State.ExitCode}}'), '137');
      await lab.ok('rm', 'c1');
    }),
    imageRow('RG-03', 'with --rm nothing stays', async (lab) => {
      const id = await lab.ok('run', '-d', '--rm', 'bb:1', 'sleep', '0.2');
      await eventually(async () => `[${await lab.ok('ps', '-aq')}]`, /^\[\]$/);
      assert.doesNotMatch(await lab.podman('ps', '-a', '--format', '{{.Names}}'), new RegExp(id));
    }),
    imageRow('RS-04', 'memory and processes are limited, and the end says why', async (lab) => {
      const limits = ['-m', '32m', '--pids-limit', '20', '--cpus', '0.5'];
      const hog = 'x=a; while :; do x=$x$x; done';
      const { code } = await lab.docker('run', '--name', 'hog', ...limits, 'bb:1', 'sh', '-c', hog);
      if (/no freezer|cannot enforce/.test(lab.log)) return 'control groups cannot be made here';
      assert.equal(code, 137);
      assert.equal(await lab.inspect('hog', '{{.State.OOMKilled}}'), 'true');
      return undefined;
    }),
    imageRow('RS-16', 'bind mounts and memory file systems', async (lab) => {
      const folder = join(lab.folder, 'shared, "quoted"');
      mkdirSync(folder, { recursive: true });
      const mount = ['-v', `${folder}:/data:ro`, '--tmpfs', '/scratch:size=1m'];
      const script = 'touch /data/x 2>/dev/null || echo refused; touch /scratch/y && ls /scratch';
      assert.equal(await lab.ok('run', '--rm', ...mount, 'bb:1', 'sh', '-c', script), 'refused\ny');
    }),
    imageRow('RS-09', 'rights are taken away unless they are given', async (lab) => {
      const add = ['ip', 'link', 'set', 'eth0', 'mtu', '1400'];
      refused(await lab.docker('run', '--rm', 'bb:1', ...add), /not permitted/, 2);
      await lab.ok('run', '--rm', '--cap-add', 'NET_ADMIN', 'bb:1', ...add);
      assert.match(
        await lab.ok('run', '--rm', '-u', '1000:1000', 'bb:1', 'id'),
        /uid=1000.* gid=1000/,
      );
    }),
    imageRow('DD-27', 'containers of images outlive the daemon and its agent', async (lab) => {
      const script = 'while ! ls /tmp/go; do sleep 0.1; done; echo later; exit 4';
      await lab.ok('run', '-d', '--name', 'c2', 'bb:1', 'sh', '-c', script);
      const before = await lab.inspect('c2', '{{.State.Pid}}');
      const agents = lab.agents();
      await lab.stop('SIGKILL');
      for (const pid of agents) process.kill(pid, 'SIGKILL');
      await lab.start();
      assert.equal(await lab.inspect('c2', '{{.State.Pid}}'), before);
      await lab.ok('exec', 'c2', 'touch', '/tmp/go');
      assert.equal(await lab.ok('wait', 'c2'), '4');
      assert.match(await lab.ok('logs', 'c2'), /later/);
    }),
    imageRow('RE-20', 'health checks of a container of an image', async (lab) => {
      const health = ['--health-cmd', 'ls /tmp/fine', '--health-interval', '200ms'];
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c3',
        ...health,
        'bb:1',
        'sh',
        '-c',
        'touch /tmp/fine; sleep 60',
      );
      await eventually(() => lab.inspect('c3', '{{.State.Health.Status}}'), /^healthy/);
      await lab.ok('exec', 'c3', 'rm', '/tmp/fine');
      await eventually(() => lab.inspect('c3', '{{.State.Health.Status}}'), /^unhealthy/, 10_000);
    }),
    imageRow('RE-20', 'the health check that an image brings along', async (lab) => {
      const check = 'HEALTHCHECK --interval=200ms --retries=2 CMD ls /tmp/fine';
      await buildImage(lab, 'checked:1', check, 'CMD ["sleep", "60"]');
      const shown = await lab.inspect('checked:1', '{{json .Config.Healthcheck}}');
      assert.deepEqual(JSON.parse(shown), {
        ...{ Test: ['CMD-SHELL', 'ls /tmp/fine'], Interval: 200_000_000, Retries: 2 },
      });
      await lab.ok('run', '-d', '--name', 'c1', 'checked:1');
      await eventually(() => lab.inspect('c1', '{{.State.Health.Status}}'), /^unhealthy/);
      await lab.ok('exec', 'c1', 'touch', '/tmp/fine');
      await eventually(() => lab.inspect('c1', '{{.State.Health.Status}}'), /^healthy/);
      await lab.ok('run', '-d', '--name', 'c2', '--no-healthcheck', 'checked:1');
      assert.equal(await lab.inspect('c2', '{{if .State.Health}}has{{else}}none{{end}}'), 'none');
      const slower = ['--health-interval', '7s', 'checked:1'];
      await lab.ok('create', '--name', 'c3', ...slower);
      const format = '{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}}';
      assert.equal(await lab.inspect('c3', format), '[CMD-SHELL ls /tmp/fine] 7s');
      await lab.ok('rm', '-f', 'c1', 'c2', 'c3');
      await lab.ok('rmi', 'checked:1');
    }),
    imageRow('IMG-01', 'save by podman, load, tag, and remove', async (lab) => {
      const archive = join(lab.folder, 'saved.tar');
      await lab
        .podman('save', '-o', archive, 'localhost/bb:1')
        .catch(() => lab.podman('save', '-o', archive, 'docker.io/library/bb:1'));
      await lab.ok('tag', 'bb:1', 'other/name:2');
      assert.match(await lab.ok('rmi', 'other/name:2'), /Untagged: other\/name:2/);
      assert.match(await lab.ok('rmi', 'bb:1'), /Untagged: bb:1\nDeleted: sha256:/);
      refused(await lab.docker('image', 'inspect', 'bb:1'), /No such image/);
      assert.match(await lab.ok('load', '-i', archive), /Loaded image: bb:1/);
      assert.equal(await lab.ok('run', '--rm', 'bb:1'), 'default');
    }),
    imageRow('IMG-02', 'an image that a container is made of stays', async (lab) => {
      await lab.ok('create', '--name', 'c4', 'bb:1');
      refused(await lab.docker('rmi', 'bb:1'), /conflict: unable to remove repository reference/);
      refused(await lab.docker('rmi', 'host'), /file system of the host/);
      refused(await lab.docker('rmi', 'nope'), /No such image/);
      refused(await lab.docker('import', '/etc/hostname', 'Bad/NAME:1'), /invalid reference/);
      refused(await lab.docker('load', '-i', '/etc/hostname'), /./);
    }),
  ],
);
