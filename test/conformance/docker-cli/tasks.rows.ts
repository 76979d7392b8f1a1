import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HOST } from './lab.ts';
import { eventually, row } from './rows.ts';
import {
  container,
  create,
  FAST,
  nodeId,
  ps,
  runs,
  SLEEP,
  serve,
  swarmRows,
  update,
} from './swarm.ts';

swarmRows([
  row('DS-01', 'a service is created and converges', async (lab) => {
    const { code, out, err } = await lab.docker(
      ...['service', 'create', '--name', 'web', '--replicas', '2', ...FAST, ...SLEEP],
    );
    assert.equal(code, 0, err);
    assert.match(out, /overall progress: 2 out of 2 tasks/);
    assert.match(out, /verify: Service [a-z0-9]{25} converged/);
  }),
  row('DS-52', 'tasks are listed by service and by node', async (lab) => {
    await create(lab, 'web', ['--replicas', '2']);
    await runs(lab, 'web', '2/2');
    const host = await lab.ok('info', '-f', '{{.Name}}');
    const format = '{{.Name}} {{.Image}} {{.Node}} {{.DesiredState}}';
    assert.deepEqual((await ps(lab, 'web', format)).split('\n').sort(), [
      `web.1 host:latest ${host} Running`,
      `web.2 host:latest ${host} Running`,
    ]);
    const one = ['--format', '{{.Name}}', '-f', 'name=web.1'];
    assert.equal(await lab.ok('service', 'ps', ...one, 'web'), 'web.1');
    assert.match(await lab.ok('node', 'ps', '--format', '{{.Name}}', 'self'), /^web\.[12]$/m);
    assert.match(await ps(lab, 'web', '{{.CurrentState}}'), /^Running .* ago$/m);
  }),
  row('DS-25', 'more replicas, and fewer', async (lab) => {
    await create(lab, 'web', ['--replicas', '3']);
    await runs(lab, 'web', '3/3');
    await update(lab, 'scale', '-d', 'web=1');
    await runs(lab, 'web', '1/1');
    await update(lab, 'scale', '-d', 'web=0');
    await runs(lab, 'web', '0/0');
  }),
  row('DS-27', 'one task on every node', async (lab) => {
    await create(lab, 'web', ['--mode', 'global']);
    await runs(lab, 'web', '1/1');
  }),
  row('DS-10', 'the process sees environment, directory and host name', async (lab) => {
    const flags = ['--env', 'MYVAR=of {{.Service.Name}}', '--workdir', '/tmp'];
    await create(lab, 'web', [...flags, '--hostname', '{{.Service.Name}}-{{.Task.Slot}}']);
    const id = await container(lab, 'web');
    const script = 'echo $MYVAR; pwd; hostname';
    assert.equal(await lab.ok('exec', id, 'sh', '-c', script), 'of web\n/tmp\nweb-1');
    assert.match(await lab.inspect(id, '{{.Name}}'), /^\/web\.1\.[a-z0-9]{25}$/);
  }),
  row('DS-54', 'a task that ends is followed by another one', async (lab) => {
    await create(lab, 'once', [], ['host', 'sh', '-c', 'exit 3']);
    const history = () => ps(lab, 'once', '{{.DesiredState}} {{.CurrentState}} {{.Error}}');
    await eventually(history, /Shutdown Failed .*non-zero exit \(3\)/);
    await create(lab, 'never', ['--restart-condition', 'none'], ['host', 'true']);
    await eventually(() => ps(lab, 'never', '{{.CurrentState}}'), /^Complete/);
  }),
  row('DS-11', 'an update replaces the tasks', async (lab) => {
    await create(lab, 'web', ['--replicas', '2', '--update-parallelism', '2']);
    await runs(lab, 'web', '2/2');
    await update(lab, 'update', '-d', '--args', 'sleep 700', '--update-monitor', '1s', 'web');
    const state = () => lab.ok('service', 'inspect', '-f', '{{.UpdateStatus.State}}', 'web');
    await eventually(state, /^completed$/);
    await runs(lab, 'web', '2/2');
    const running = await ps(lab, 'web', '{{.Name}}', '-f', 'desired-state=running');
    assert.equal(running.split('\n').length, 2);
  }),
  row('DS-47', 'an update that fails is paused, or rolled back', async (lab) => {
    const state = (name: string) =>
      lab.ok('service', 'inspect', '-f', '{{.UpdateStatus.State}} {{.UpdateStatus.Message}}', name);
    await create(lab, 'paused', []);
    await runs(lab, 'paused', '1/1');
    await update(lab, 'update', '-d', '--args', 'false', 'paused');
    await eventually(() => state('paused'), /^paused update paused due to failure/);
    await create(lab, 'back', ['--update-failure-action', 'rollback', '--rollback-monitor', '1s']);
    await runs(lab, 'back', '1/1');
    await update(lab, 'update', '-d', '--args', 'false', 'back');
    await eventually(() => state('back'), /^rollback_completed/);
    const args = '{{.Spec.TaskTemplate.ContainerSpec.Args}}';
    assert.equal(await lab.ok('service', 'inspect', '-f', args, 'back'), '[sleep 600]');
  }),
  row('DS-58', 'the output of a service and of a task', async (lab) => {
    const script = 'echo out; echo err >&2; sleep 600';
    await create(lab, 'web', ['--replicas', '2'], ['host', 'sh', '-c', script]);
    await runs(lab, 'web', '2/2');
    const host = await lab.ok('info', '-f', '{{.Name}}');
    const logs = async (...args: string[]) => {
      const { out, err } = await lab.docker('service', 'logs', ...args);
      return `${out}${err}`;
    };
    await eventually(() => logs('web'), /^web\.1\.[a-z0-9]{12}@\S+\s+\| out$/m);
    const text = await logs('web');
    for (const slot of ['1', '2']) {
      for (const word of ['out', 'err']) {
        assert.match(text, new RegExp(`^web\\.${slot}\\.[a-z0-9]+@${host}\\s+\\| ${word}$`, 'm'));
      }
    }
    assert.deepEqual((await logs('--raw', 'web')).trim().split('\n').sort(), [
      ...['err', 'err', 'out', 'out'],
    ]);
    assert.match(
      await logs('-t', '--raw', '--tail', '1', 'web'),
      /^\d{4}-\d\d-\d\dT\S+Z (out|err)$/m,
    );
    const task = (await ps(lab, 'web', '{{.ID}}')).split('\n')[0] ?? '';
    assert.equal((await logs('--raw', task)).trim().split('\n').length, 2);
  }),
  row('SE-28', 'secrets and configurations are files of the task, and go with it', async (lab) => {
    const path = join(lab.folder, 'data');
    writeFileSync(path, 'what it says');
    await lab.ok('secret', 'create', 's1', path);
    await lab.ok('config', 'create', 'c1', path);
    // The image is the host's own file system: the file to be covered has to be there.
    const target = join(lab.folder, 'covered');
    writeFileSync(target, '');
    const flags = [
      '--secret',
      'source=s1,target=ca.pem,mode=0400',
      '--config',
      `source=c1,target=${target}`,
    ];
    await create(lab, 'web', flags);
    await eventually(() => ps(lab, 'web', '{{.CurrentState}} {{.Error}}'), /^Running/);
    const id = await container(lab, 'web');
    const script = `stat -c %a /run/secrets/ca.pem; cat /run/secrets/ca.pem ${target}`;
    assert.equal(await lab.ok('exec', id, 'sh', '-c', script), '400\nwhat it sayswhat it says');
  }),
  row('DS-49', 'a mount whose source is not there rejects the task', async (lab) => {
    await create(lab, 'web', ['--mount', 'type=bind,src=/nowhere/at/all,dst=/there']);
    const state = () => ps(lab, 'web', '{{.CurrentState}} {{.Error}}');
    await eventually(state, /^(Rejected|Failed) .*bind source path does not exist: \/nowhere/m);
  }),
  row('RM-05', 'a published port answers on the node', async (lab) => {
    await serve(lab, 'web', ['tcp:80'], '--publish', 'published=8080,target=80');
    await runs(lab, 'web', '1/1');
    assert.equal(await lab.ok('service', 'ls', '--format', '{{.Ports}}'), '*:8080->80/tcp');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^web /);
  }),
  row('RM-13', 'two services share a number by different protocols', async (lab) => {
    await create(lab, 'a', ['-p', '5353:53']);
    await create(lab, 'b', ['-p', '5353:53/udp']);
  }),
  row('RM-19', 'ports of the node itself are told by the task', async (lab) => {
    await serve(lab, 'web', ['tcp:80'], '--publish', 'mode=host,target=80,published=8081');
    await eventually(() => ps(lab, 'web', '{{.Ports}}'), /\*:8081->80\/tcp/);
    await eventually(() => lab.ask('client', 'tcp', HOST, 8081), /^web /);
    await serve(lab, 'any', ['tcp:80'], '--publish', 'mode=host,target=80');
    await eventually(() => ps(lab, 'any', '{{.Ports}}'), /\*:\d+->80\/tcp/);
  }),
  row('DS-20', 'services of one network find each other by name', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'net');
    await serve(lab, 'web', ['tcp:80'], '--network', 'name=net,alias=front');
    await create(lab, 'client', ['--network', 'net']);
    const id = await container(lab, 'client');
    await runs(lab, 'web', '1/1');
    for (const name of ['web', 'front', 'tasks.web']) {
      await eventually(() => lab.ask(id, 'tcp', name, 80), /^web /);
    }
    const format = '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}';
    assert.match(await lab.ok('service', 'inspect', '-f', format, 'web'), /^10\.\d+\.\d+\.\d+\/24/);
  }),
  row('RM-10', 'tcp alone, udp alone, and both', async (lab) => {
    const ports = ['tcp:53', 'udp:53'];
    await serve(lab, 'dns', ports, '-p', '5353:53', '-p', 'published=5354,target=53,protocol=udp');
    await runs(lab, 'dns', '1/1');
    await eventually(() => lab.ask('client', 'tcp', HOST, 5353), /^dns /);
    await eventually(() => lab.ask('client', 'udp', HOST, 5354), /^dns /);
    assert.doesNotMatch(await lab.ask('client', 'tcp', HOST, 5354), /dns/);
    assert.doesNotMatch(await lab.ask('client', 'udp', HOST, 5353), /dns/);
  }),
  row('RM-08', 'a port is published later, and no more with its service', async (lab) => {
    await serve(lab, 'web', ['tcp:80']);
    await runs(lab, 'web', '1/1');
    await update(lab, 'update', '-d', '--publish-add', 'published=8080,target=80', 'web');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^web /);
    await lab.ok('service', 'rm', 'web');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^(ECONNREFUSED|no answer)$/);
    await serve(lab, 'other', ['tcp:80'], '--publish', 'published=8080,target=80');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^other /);
  }),
  row('RM-22', 'a service without an address of its own is found by its tasks', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'net');
    await serve(
      lab,
      'rr',
      ['tcp:80'],
      '--network',
      'net',
      '--endpoint-mode',
      'dnsrr',
      '--replicas',
      '2',
    );
    await create(lab, 'client', ['--network', 'net']);
    const id = await container(lab, 'client');
    await runs(lab, 'rr', '2/2');
    const found = async () => (await lab.docker('exec', id, 'getent', 'ahostsv4', 'rr')).out;
    await eventually(async () => {
      const addresses = new Set((await found()).match(/^\S+/gm));
      return String(addresses.size);
    }, /^2$/);
    await eventually(() => lab.ask(id, 'tcp', 'rr', 80), /^rr /);
  }),
  row('DS-22', 'a network is added to tasks and taken from them', async (lab) => {
    for (const name of ['one', 'two']) await lab.ok('network', 'create', '-d', 'overlay', name);
    await create(lab, 'web', ['--network', 'one']);
    const joined = async () => {
      const id = await container(lab, 'web');
      const { out } = await lab.docker(
        ...['inspect', '-f', '{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}', id],
      );
      return out;
    };
    await eventually(joined, /one/);
    await update(lab, 'update', '-d', '--network-add', 'two', 'web');
    await eventually(joined, /one.*two|two.*one/);
    await update(lab, 'update', '-d', '--network-rm', 'one', 'web');
    await eventually(joined, /^(?!.*one).*two/s);
    const verbose = ['network', 'inspect', '-v', '-f', '{{json .Services}}', 'two'];
    await eventually(() => lab.ok(...verbose), /"web":\{.*"EndpointIP":"10\./);
  }),
  row('DS-50', 'a template that makes no sense rejects the task', async (lab) => {
    await create(lab, 'web', ['--env', 'A={{.Nothing}}']);
    const state = () => ps(lab, 'web', '{{.CurrentState}} {{.Error}}');
    await eventually(state, /^Rejected .*expanding env failed/m);
  }),
  row('SE-30', 'a secret that is added rolls the tasks', async (lab) => {
    const path = join(lab.folder, 'data');
    writeFileSync(path, 'later');
    await lab.ok('secret', 'create', 's1', path);
    await create(lab, 'web', []);
    await runs(lab, 'web', '1/1');
    await update(lab, 'update', '-d', '--secret-add', 's1', 'web');
    const read = async () => {
      const { out } = await lab.docker(
        'exec',
        await container(lab, 'web'),
        'cat',
        '/run/secrets/s1',
      );
      return out;
    };
    await eventually(read, /^later$/);
  }),
  row('DS-53', 'a task that is not healthy is replaced', async (lab) => {
    const health = ['--health-cmd', 'false', '--health-interval', '200ms', '--health-retries', '2'];
    await create(lab, 'ill', health);
    await eventually(() => ps(lab, 'ill', '{{.CurrentState}}'), /^(Starting|Failed)/m);
    await eventually(() => ps(lab, 'ill', '{{.Error}}'), /unhealthy container/);
  }),
  row('DS-55', 'a drained node keeps no tasks', async (lab) => {
    await create(lab, 'web', []);
    await runs(lab, 'web', '1/1');
    const id = await nodeId(lab);
    await lab.ok('node', 'update', '--availability', 'drain', id);
    try {
      await runs(lab, 'web', '0/1');
    } finally {
      await lab.ok('node', 'update', '--availability', 'active', id);
    }
    await runs(lab, 'web', '1/1');
  }),
  row('DS-09', 'tasks of a service that is removed go', async (lab) => {
    await create(lab, 'web', ['--replicas', '2']);
    await runs(lab, 'web', '2/2');
    await lab.ok('service', 'rm', 'web');
    await eventually(() => lab.ok('ps', '-aq'), /^$/);
    assert.equal(await lab.ok('node', 'ps', '-q', 'self'), '');
  }),
]);
