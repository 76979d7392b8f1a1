import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { run } from '../../support/docker-daemon.ts';
import { imageRow } from './busybox.ts';
import { type Lab, REGISTRY } from './lab.ts';
import { refused, row, rows } from './rows.ts';

/** A folder with a file, a program and a link. */
function makeTree(lab: Lab, name: string): string {
  const tree = join(lab.folder, name);
  mkdirSync(join(tree, 'sub'), { recursive: true });
  writeFileSync(join(tree, 'plain'), 'plain text\n');
  writeFileSync(join(tree, 'sub/program'), '#!/bin/sh\necho ran\n');
  chmodSync(join(tree, 'sub/program'), 0o755);
  symlinkSync('plain', join(tree, 'link'));
  return tree;
}

function checkTree(tree: string): void {
  assert.equal(readFileSync(join(tree, 'plain'), 'utf8'), 'plain text\n');
  assert.equal(statSync(join(tree, 'sub/program')).mode & 0o777, 0o755);
  assert.equal(readlinkSync(join(tree, 'link')), 'plain');
}

rows(
  [],
  [
    imageRow('CP-01', 'files go into a container and come out, as it runs', async (lab) => {
      const tree = makeTree(lab, 'tree1');
      await lab.ok('run', '-d', '--name', 'c1', 'bb:1', 'sleep', '60');
      await lab.ok('cp', tree, 'c1:/tmp');
      assert.equal(await lab.ok('exec', 'c1', '/tmp/tree1/sub/program'), 'ran');
      await lab.ok('cp', join(tree, 'plain'), 'c1:/tmp/renamed');
      assert.equal(await lab.ok('exec', 'c1', 'cat', '/tmp/renamed'), 'plain text');
      await lab.ok('cp', 'c1:/tmp/tree1', join(lab.folder, 'out1'));
      checkTree(join(lab.folder, 'out1'));
      mkdirSync(join(lab.folder, 'out2'));
      await lab.ok('cp', 'c1:/tmp/tree1/.', join(lab.folder, 'out2'));
      checkTree(join(lab.folder, 'out2'));
      await lab.ok('cp', 'c1:/tmp/renamed', join(lab.folder, 'one'));
      assert.equal(readFileSync(join(lab.folder, 'one'), 'utf8'), 'plain text\n');
    }),
    imageRow('CP-02', 'also before its start and after its end', async (lab) => {
      const tree = makeTree(lab, 'tree2');
      const script = 'cat /tmp/tree2/plain; touch /tmp/made';
      await lab.ok('create', '--name', 'c1', '-v', 'data:/data', 'bb:1', 'sh', '-c', script);
      await lab.ok('cp', tree, 'c1:/tmp');
      await lab.ok('cp', tree, 'c1:/data/');
      assert.equal(await lab.ok('start', '-a', 'c1'), 'plain text');
      await lab.ok('cp', 'c1:/tmp/made', join(lab.folder, 'made'));
      assert.equal(readFileSync(join(lab.folder, 'made'), 'utf8'), '');
      await lab.ok('cp', 'c1:/data', join(lab.folder, 'data'));
      checkTree(join(lab.folder, 'data/tree2'));
    }),
    imageRow('CP-03', 'archives by - in both directions', async (lab) => {
      const tree = makeTree(lab, 'tree3');
      await lab.ok('create', '--name', 'c1', 'bb:1', 'true');
      const archive = join(lab.folder, 'tree3.tar');
      await run(['tar', '-C', lab.folder, '-cf', archive, 'tree3']);
      const copy = 'docker cp - c1:/tmp <"$1"; docker cp c1:/tmp/tree3 - | tar -t';
      const { out } = await run(['sh', '-c', copy, 'sh', archive], {
        DOCKER_HOST: `unix://${lab.socket}`,
      });
      assert.deepEqual(out.trim().split('\n').toSorted(), [
        ...['tree3/', 'tree3/link', 'tree3/plain', 'tree3/sub/', 'tree3/sub/program'],
      ]);
      checkTree(tree);
    }),
    imageRow('CP-04', 'no link of a container leads out of it', async (lab) => {
      writeFileSync(join(lab.folder, 'secret'), 'of the host');
      const script = `ln -s ${lab.folder} /tmp/out; ln -s /tmp /tmp/in; touch /tmp/secret; sleep 60`;
      await lab.ok('run', '-d', '--name', 'c1', 'bb:1', 'sh', '-c', script);
      await lab.ok('exec', 'c1', 'sh', '-c', 'while ! ls /tmp/secret; do sleep 0.1; done');
      const target = join(lab.folder, 'taken');
      refused(await lab.docker('cp', 'c1:/tmp/out/secret', target), /Could not find the file/);
      await lab.ok('cp', 'c1:/tmp/in/secret', target);
      assert.equal(readFileSync(target, 'utf8'), '');
      refused(await lab.docker('cp', target, 'c1:/tmp/out/new'), /Could not find the file/);
      assert.equal((await run(['ls', join(lab.folder, 'new')])).code, 2);
    }),
    imageRow('CP-05', 'what is not there is refused', async (lab) => {
      await lab.ok('create', '--name', 'c1', 'bb:1', 'true');
      refused(
        await lab.docker('cp', 'c1:/nope', lab.folder),
        /Could not find the file \/nope in container c1/,
      );
      refused(await lab.docker('cp', 'nope:/etc', lab.folder), /No such container: nope/);
    }),
    imageRow('CP-06', 'export gives the files of a container', async (lab) => {
      await lab.ok('run', '--name', 'c1', 'bb:1', 'touch', '/tmp/made');
      const archive = join(lab.folder, 'export.tar');
      await lab.ok('export', '-o', archive, 'c1');
      const { out } = await run(['tar', '-tf', archive]);
      assert.match(out, /^bin\/busybox$/m);
      assert.match(out, /^tmp\/made$/m);
      assert.match(await lab.ok('import', archive, 'again:1'), /^sha256:/);
      assert.equal(await lab.ok('run', '--rm', 'again:1', 'ls', '/tmp'), 'made');
      await lab.ok('rmi', 'again:1');
    }),
    imageRow('IMG-03', 'an image of a container’s files, saved and loaded again', async (lab) => {
      await lab.ok('run', '--name', 'c1', 'bb:1', 'touch', '/tmp/made');
      await lab.ok('commit', 'c1', 'same:1');
      assert.equal(await lab.inspect('same:1', '{{.Config.Cmd}}'), '[touch /tmp/made]');
      const hostname = ['sh', '-c', 'echo $HOSTNAME'];
      assert.equal(await lab.ok('run', '--rm', '-h', 'new', 'same:1', ...hostname), 'new');
      await lab.ok('rmi', 'same:1');
      const how = ['-m', 'why', '-a', 'who', '-c', 'CMD ["ls", "/tmp"]'];
      const id = await lab.ok('commit', ...how, 'c1', 'made:1');
      assert.match(id, /^sha256:[0-9a-f]{64}$/);
      assert.equal(await lab.ok('run', '--rm', 'made:1'), 'made');
      const archive = join(lab.folder, 'saved.tar');
      await lab.ok('save', '-o', archive, 'made:1', 'bb:1');
      await lab.ok('rmi', 'made:1');
      assert.match(await lab.ok('load', '-i', archive), /Loaded image: made:1/);
      assert.equal(await lab.ok('run', '--rm', 'made:1'), 'made');
      refused(await lab.docker('save', '-o', archive, 'nope:1'), /No such image: nope:1/);
      await lab.ok('create', '--name', 'c2', 'host', 'true');
      refused(await lab.docker('commit', 'c2', 'x:1'), /files of the image "host"/);
      await lab.ok('rmi', 'made:1');
    }),
    imageRow('IMG-04', 'an image is pulled from a registry that is reachable', async (lab) => {
      const folder = join(lab.folder, 'registry');
      const [name] = JSON.parse(
        await lab.podman('image', 'inspect', '-f', '{{json .RepoTags}}', 'bb:1'),
      );
      await lab.podman('push', '--format=v2s2', name, `dir:${folder}`);
      const end = await lab.serveRegistry(folder);
      try {
        const image = `${REGISTRY}/bb`;
        assert.match(await lab.ok('pull', `${image}:1`), /Downloaded newer image for .*bb:1/);
        assert.match(await lab.ok('pull', `${image}:1`), /Image is up to date for/);
        assert.equal(await lab.ok('run', '--rm', `${image}:2`), 'default', 'run pulls by itself');
        refused(
          await lab.docker('pull', `${image}:none`),
          /pull access denied for .*manifest unknown/,
        );
        await lab.ok('rmi', `${image}:1`, `${image}:2`);
      } finally {
        end();
      }
      refused(
        await lab.docker('pull', `${REGISTRY}/bb:1`),
        /connection refused|i\/o timeout|no route/,
      );
      refused(await lab.docker('pull', 'nope:1'), /docker\.io is blocked/);
    }),
    imageRow('IMG-05', 'a registry that wants to know who pulls', async (lab) => {
      const folder = join(lab.folder, 'registry');
      const end = await lab.serveRegistry(folder, 'me:secret');
      try {
        const image = `${REGISTRY}/bb:1`;
        refused(await lab.docker('pull', image), /may require 'docker login'/);
        const auth = Buffer.from('me:secret').toString('base64');
        mkdirSync(join(lab.folder, 'cli'), { recursive: true });
        const file = join(lab.folder, 'cli/config.json');
        writeFileSync(file, JSON.stringify({ auths: { [REGISTRY]: { auth } } }));
        assert.match(await lab.ok('pull', image), /Downloaded newer image/);
        rmSync(file);
        await lab.ok('rmi', image);
      } finally {
        end();
      }
    }),
    row('CP-07', 'files of the image host are those that its container sees', async (lab) => {
      const tree = makeTree(lab, 'tree7');
      const mount = ['-v', 'data:/mnt', '--tmpfs', '/srv'];
      await lab.ok('run', '-d', '--name', 'c1', ...mount, 'host', 'sleep', '60');
      await lab.ok('cp', tree, 'c1:/mnt');
      await lab.ok('cp', tree, 'c1:/srv');
      assert.equal(await lab.ok('exec', 'c1', '/mnt/tree7/sub/program'), 'ran');
      assert.equal(await lab.ok('exec', 'c1', '/srv/tree7/sub/program'), 'ran');
      await lab.ok('cp', 'c1:/srv/tree7', join(lab.folder, 'out7'));
      checkTree(join(lab.folder, 'out7'));
      await lab.ok('cp', 'c1:/etc/hosts', join(lab.folder, 'hosts'));
      assert.match(readFileSync(join(lab.folder, 'hosts'), 'utf8'), /172\.17\.0\.\d+\t/);
      await lab.ok('kill', 'c1');
      await lab.ok('cp', 'c1:/mnt/tree7', join(lab.folder, 'out8'));
      checkTree(join(lab.folder, 'out8'));
      refused(await lab.docker('export', 'c1'), /files of the image "host" are those of the host/);
    }),
  ],
);
