import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage, imageRow } from './busybox.ts';
import { type Lab, REGISTRY } from './lab.ts';
import { eventually } from './rows.ts';
import { container, ps, runs, swarmRows, update } from './swarm.ts';

const PROGRAM = '/usr/bin/docker-registry';
const NAME = `${REGISTRY}/bb`;
/** `me` and `secret`. */
const USERS = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
const WARNING = /image \S+ could not be accessed on a registry to record\nits digest\. Each node/;
const IMAGE = '{{.Spec.TaskTemplate.ContainerSpec.Image}}';

/** Debian's registry in the client's namespace; returns its end. */
async function openRegistry(lab: Lab, more: readonly string[] = []): Promise<() => void> {
  const root = join(lab.folder, 'registry');
  const path = join(lab.folder, 'registry.yml');
  const users = join(lab.folder, 'users');
  writeFileSync(users, USERS);
  rmSync(root, { recursive: true, force: true });
  const lines = [
    ...['version: 0.1', 'log: { level: error }', 'storage:'],
    ...[`  filesystem: { rootdirectory: ${root} }`, 'http: { addr: ":5000" }'],
    ...more.map((line) => line.replace('{USERS}', users)),
    '',
  ];
  writeFileSync(path, lines.join('\n'));
  const { file, args } = lab.clientCommand(PROGRAM, 'serve', path);
  const child = spawn(file, args, { stdio: 'ignore' });
  await eventually(async () => (await lab.client('ss', '-Hlnt')).out, /:5000 /);
  return () => child.kill('SIGKILL');
}

/** Puts an image there by podman, and takes it from this host; its digest. */
async function push(lab: Lab, image: string, tag: string, ...flags: string[]): Promise<string> {
  const [stored] = JSON.parse(await lab.ok('image', 'inspect', '-f', '{{json .RepoTags}}', image));
  const file = join(lab.folder, 'digest');
  const kept = (await lab.podman('images', '--format', '{{.Repository}}:{{.Tag}}'))
    .split('\n')
    .find((one) => one.endsWith(stored));
  const how = ['--tls-verify=false', `--digestfile=${file}`, ...flags];
  await lab.podman('push', ...how, kept ?? stored, `docker://${NAME}:${tag}`);
  return readFileSync(file, 'utf8').trim();
}

async function forget(lab: Lab): Promise<void> {
  const ids = (await lab.podman('images', '--quiet', '--no-trunc')).split('\n').filter(Boolean);
  for (const id of new Set(ids)) await lab.podman('rmi', '--force', id);
}

/** A row with a registry, which is skipped where there is none to run. */
function registryRow(
  id: string,
  what: string,
  body: (lab: Lab) => Promise<void>,
  more: readonly string[] = [],
) {
  return imageRow(id, what, async (lab) => {
    if (!existsSync(PROGRAM)) return 'needs docker-registry';
    const end = await openRegistry(lab, more);
    try {
      await body(lab);
    } finally {
      end();
    }
    return undefined;
  });
}

const SLEEP = [`${NAME}:1`, 'sleep', '600'];
const image = (lab: Lab, name: string) => lab.ok('service', 'inspect', '-f', IMAGE, name);

swarmRows(
  [
    registryRow('DS-12', 'an image is pinned to what its tag is now', async (lab) => {
      await buildImage(lab, 'other:1', 'ENV COLOUR=blue');
      const first = await push(lab, 'bb:1', '1');
      const second = await push(lab, 'other:1', '2');
      await forget(lab);
      const made = await lab.docker('service', 'create', '--name', 'web', ...SLEEP);
      assert.deepEqual([made.code, made.err], [0, '']);
      assert.equal(await image(lab, 'web'), `${NAME}:1@${first}`);
      const platforms = '{{json .Spec.TaskTemplate.Placement.Platforms}}';
      assert.equal(
        await lab.ok('service', 'inspect', '-f', platforms, 'web'),
        '[{"Architecture":"amd64","OS":"linux"}]',
      );
      await runs(lab, 'web', '1/1');
      assert.match(await lab.ok('image', 'ls', '--digests'), new RegExp(`${NAME}.*${first}`));
      assert.equal(
        await lab.ok('service', 'ls', '--format', '{{.Image}}'),
        `${NAME}:1`,
        'lists leave the digest out',
      );
      const colour = ['sh', '-c', 'echo $COLOUR'];
      assert.equal(await lab.ok('run', '--rm', `${NAME}@${first}`, ...colour), 'red');
      // The tag moves on, the service does not until it is asked for.
      await lab.ok('pull', '-q', `${NAME}:2`);
      assert.equal(await push(lab, `${NAME}:2`, '1'), second);
      await update(lab, 'update', '-d', '--force', 'web');
      assert.equal(await image(lab, 'web'), `${NAME}:1@${first}`);
      await update(lab, 'update', '-d', '--image', `${NAME}:1`, 'web');
      assert.equal(await image(lab, 'web'), `${NAME}:1@${second}`);
      const seen = async () => lab.ok('exec', await container(lab, 'web'), ...colour);
      await eventually(() => seen().catch(String), /^blue$/);
    }),
    registryRow('DS-12', 'an image for several platforms is pinned as a whole', async (lab) => {
      await buildImage(lab, 'other:1', 'ENV COLOUR=blue');
      await lab.podman('manifest', 'create', 'localhost/multi:1');
      for (const [name, architecture] of [
        ['bb:1', 'amd64'],
        ['other:1', 'arm64'],
      ]) {
        const stored = await lab.podman('image', 'inspect', '-f', '{{.Id}}', name ?? '');
        const how = ['--arch', architecture ?? '', '--os', 'linux', 'localhost/multi:1'];
        await lab.podman('manifest', 'add', ...how, `containers-storage:${stored}`);
      }
      const file = join(lab.folder, 'digest');
      const flags = ['--all', '--tls-verify=false', `--digestfile=${file}`];
      await lab.podman('manifest', 'push', ...flags, 'localhost/multi:1', `docker://${NAME}:multi`);
      const digest = readFileSync(file, 'utf8').trim();
      await lab.podman('manifest', 'rm', 'localhost/multi:1');
      await forget(lab);
      const made = await lab.docker(
        'service',
        'create',
        '--name',
        'web',
        `${NAME}:multi`,
        'sleep',
        '600',
      );
      assert.deepEqual([made.code, made.err], [0, '']);
      assert.equal(await image(lab, 'web'), `${NAME}:multi@${digest}`);
      const platforms = '{{range .Spec.TaskTemplate.Placement.Platforms}}{{.Architecture}} {{end}}';
      const shown = await lab.ok('service', 'inspect', '-f', platforms, 'web');
      assert.deepEqual(shown.split(' ').sort(), ['amd64', 'arm64']);
      await runs(lab, 'web', '1/1');
      await update(lab, 'update', '-d', '--force', 'web');
      await eventually(() => ps(lab, 'web', '{{.CurrentState}}'), /^Running[^\n]*\nShutdown/);
    }),
    registryRow('DS-12', 'what its registry does not tell is warned of, and kept', async (lab) => {
      const made = await lab.docker(
        ...['service', 'create', '-d', '--name', 'none', `${NAME}:none`, 'sleep', '600'],
      );
      assert.equal(made.code, 0);
      assert.match(made.err, WARNING);
      assert.equal(await image(lab, 'none'), `${NAME}:none`);
      await eventually(
        () => ps(lab, 'none', '{{.CurrentState}} {{.Error}}'),
        /Rejected.*No such image: \S+:none: .*manifest unknown/,
      );
    }),
    registryRow(
      'DS-07',
      'nodes log in as the client did with --with-registry-auth',
      async (lab) => {
        const pinned = await push(lab, 'bb:1', '1', '--creds=me:secret');
        await forget(lab);
        const auth = Buffer.from('me:secret').toString('base64');
        mkdirSync(join(lab.folder, 'cli'), { recursive: true });
        const file = join(lab.folder, 'cli/config.json');
        writeFileSync(file, JSON.stringify({ auths: { [REGISTRY]: { auth } } }));
        const without = await lab.docker('service', 'create', '-d', '--name', 'half', ...SLEEP);
        assert.match(without.err, WARNING, 'the client keeps its login to itself');
        await eventually(
          () => ps(lab, 'half', '{{.CurrentState}} {{.Error}}'),
          /Rejected.*No such image: .*(unauthorized|authentication required)/,
        );
        const flags = ['--with-registry-auth', '--image', `${NAME}:1`];
        await update(lab, 'update', '-d', ...flags, 'half');
        assert.equal(await image(lab, 'half'), `${NAME}:1@${pinned}`);
        await runs(lab, 'half', '1/1');
        await update(lab, 'scale', '-d', 'half=0');
        await eventually(async () => `[${await lab.ok('ps', '-aq')}]`, /^\[\]$/);
        await forget(lab);
        rmSync(file);
        await update(lab, 'scale', '-d', 'half=1');
        await runs(lab, 'half', '1/1');
        assert.doesNotMatch(await lab.ok('service', 'inspect', 'half'), /secret/);
        const root = join(lab.folder, 'g0');
        for (const text of ['me:secret', auth]) {
          const { out } = await lab.host('grep', '-rlaF', '--', text, root);
          assert.equal(out, '', 'it is kept sealed');
        }
      },
      ['auth:', '  htpasswd: { realm: lab, path: {USERS} }'],
    ),
    imageRow('DS-12', 'a registry that is away is warned of', async (lab) => {
      const made = await lab.docker('service', 'create', '-d', '--name', 'web', ...SLEEP);
      assert.equal(made.code, 0);
      assert.match(made.err, WARNING);
      assert.equal(await image(lab, 'web'), `${NAME}:1`);
    }),
  ],
  ['--insecure-registry', '198.51.100.0/24'],
);
