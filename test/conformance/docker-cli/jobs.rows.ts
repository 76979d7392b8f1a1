import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { create, ps, swarmRows } from './swarm.ts';

const JOB = ['--mode', 'replicated-job'];
const GLOBAL = ['--mode', 'global-job'];

const replicas = (lab: Lab, name: string) =>
  lab.ok('service', 'ls', '--format', '{{.Mode}} {{.Replicas}}', '-f', `name=${name}`);

/** A command that ends well once a file is there. */
function waiting(lab: Lab, file: string): { command: string[]; release: () => void } {
  const path = join(lab.folder, file);
  const script = `while ! [ -e ${path} ]; do sleep 0.1; done`;
  return { command: ['host', 'sh', '-c', script], release: () => writeFileSync(path, '') };
}

swarmRows([
  row('JO-01', 'a job runs until all of its tasks have completed', async (lab) => {
    const flags = [...JOB, '--replicas', '3', '--max-concurrent', '2'];
    const { command, release } = waiting(lab, 'go1');
    await create(lab, 'j', flags, command);
    await eventually(() => replicas(lab, 'j'), /^replicated job 2\/2 \(0\/3 completed\)$/);
    assert.equal(await ps(lab, 'j', '{{.DesiredState}}'), 'Complete\nComplete');
    release();
    await eventually(() => replicas(lab, 'j'), /^replicated job 0\/2 \(3\/3 completed\)$/);
    const states = await ps(lab, 'j', '{{.DesiredState}} {{.CurrentState}}');
    assert.match(states, /^(Complete Complete.*\n?){3}$/);
    const filter = ['-f', 'desired-state=complete'];
    assert.equal((await ps(lab, 'j', '{{.ID}}', ...filter)).split('\n').length, 3);
    const format = '{{.JobStatus.JobIteration.Index}} {{json .Spec.Mode}}';
    assert.equal(
      await lab.ok('service', 'inspect', '-f', format, 'j'),
      '0 {"ReplicatedJob":{"MaxConcurrent":2,"TotalCompletions":3}}',
    );
  }),
  row('JO-02', 'the client waits for a job, and shows how far it is', async (lab) => {
    const out = await lab.ok(
      'service',
      'create',
      '--name',
      'j',
      ...JOB,
      '--replicas',
      '3',
      'host',
      'true',
    );
    assert.match(out, /job complete/);
    assert.equal(await replicas(lab, 'j'), 'replicated job 0/3 (3/3 completed)');
    assert.match(
      await lab.ok('service', 'create', '--name', 'g', ...GLOBAL, 'host', 'true'),
      /job complete/,
    );
    assert.equal(await replicas(lab, 'g'), 'global job 0/0 (1/1 completed)');
    assert.equal(
      await lab.ok('service', 'ls', '-q', '-f', 'mode=global-job', '--format', '{{.Name}}'),
      'g',
    );
  }),
  row('JO-03', 'a forced update begins the next run', async (lab) => {
    const script = `echo run >>${join(lab.folder, 'runs')}`;
    await create(lab, 'j', [...JOB, '--replicas', '2'], ['host', 'sh', '-c', script]);
    await eventually(() => replicas(lab, 'j'), /\(2\/2 completed\)$/);
    assert.match(await lab.ok('service', 'update', '--force', 'j'), /job complete/);
    const format = '{{.JobStatus.JobIteration.Index}} {{.Spec.TaskTemplate.ForceUpdate}}';
    assert.equal(await lab.ok('service', 'inspect', '-f', format, 'j'), '1 1');
    assert.equal(await replicas(lab, 'j'), 'replicated job 0/2 (2/2 completed)');
    assert.equal((await lab.host('cat', join(lab.folder, 'runs'))).out, 'run\n'.repeat(4));
    await lab.ok('service', 'scale', 'j=3');
    await eventually(() => replicas(lab, 'j'), /\(3\/3 completed\)$/);
    assert.equal((await lab.host('cat', join(lab.folder, 'runs'))).out, 'run\n'.repeat(5));
  }),
  row('JO-04', 'a task that fails is tried again, as the restart policy has it', async (lab) => {
    const path = join(lab.folder, 'tried');
    const once = `[ -e ${path} ] || { touch ${path}; exit 3; }`;
    await create(lab, 'again', JOB, ['host', 'sh', '-c', once]);
    await eventually(() => replicas(lab, 'again'), /^replicated job 0\/1 \(1\/1 completed\)$/);
    assert.ok(existsSync(path));
    assert.match(await ps(lab, 'again', '{{.CurrentState}} {{.Error}}'), /Failed.*exit \(3\)/);
    const none = ['--restart-condition', 'none', '--replicas', '2', '--max-concurrent', '1'];
    await create(lab, 'once', [...JOB, ...none], ['host', 'false']);
    const failed = () => ps(lab, 'once', '{{.CurrentState}}');
    await eventually(failed, /^Failed[^\n]*\nFailed[^\n]*$/);
    assert.equal(await replicas(lab, 'once'), 'replicated job 0/1 (0/2 completed)');
  }),
  row(
    'JO-05',
    'a stack has jobs, which are not done again as it is deployed again',
    async (lab) => {
      const path = join(lab.folder, 'jobs.yml');
      const service = (mode: string) =>
        `{ image: host, command: ["true"], deploy: { mode: ${mode} } }`;
      const services = `{ one: ${service('replicated-job')}, all: ${service('global-job')} }`;
      writeFileSync(path, `services: ${services}\n`);
      const deploy = () =>
        lab.ok('stack', 'deploy', '-d', '--resolve-image', 'never', '-c', path, 's');
      for (let times = 0; times < 2; times++) {
        await deploy();
        await eventually(() => replicas(lab, 's_one'), /^replicated job 0\/1 \(1\/1 completed\)$/);
        await eventually(() => replicas(lab, 's_all'), /^global job 0\/0 \(1\/1 completed\)$/);
        assert.equal((await ps(lab, 's_one', '{{.ID}}')).split('\n').length, 1);
      }
      await lab.ok('stack', 'rm', 's');
    },
  ),
  row('JO-06', 'what jobs do not have is refused', async (lab) => {
    const words = /update and rollback configuration is not supported for jobs/;
    for (const flag of ['--update-delay', '--rollback-delay']) {
      const flags = [...JOB, flag, '1s'];
      refused(await lab.docker('service', 'create', ...flags, 'host', 'true'), words);
    }
    refused(
      await lab.docker('service', 'create', '--max-concurrent', '2', 'host', 'true'),
      /max-concurrent can only be used with replicated-job mode/,
    );
    await create(lab, 'g', GLOBAL, ['host', 'true']);
    refused(await lab.docker('service', 'scale', 'g=2'), /scale can only be used with replicated/);
  }),
]);
