import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createArguments } from '../../../src/agent/runtime/podman/create-arguments.ts';
import { podmanReason, ulimits } from '../../../src/agent/runtime/podman/podman.ts';
import { imageName } from '../../../src/control/images.ts';
import { canonicalName, familiarName } from '../../../src/model/image-name.ts';
import type { TaskSpec } from '../../../src/model/task-spec.ts';

const SPEC: TaskSpec = {
  id: 'a'.repeat(64),
  runtime: 'podman',
  image: `sha256:${'b'.repeat(64)}`,
  argv: ['sh', '-c', 'true'],
  env: ['PATH=/bin', 'A=b c'],
  cwd: '/work',
  user: '1:2',
  groups: ['3'],
  hostname: 'box',
  tty: false,
  openStdin: true,
  sandbox: 'sandbox',
  hosts: '',
  resolvConf: '',
  mounts: [
    { kind: 'bind', source: '/a,"b"', target: '/data', readOnly: true, options: ['rslave'] },
    { kind: 'tmpfs', source: '', target: '/run', readOnly: false, options: ['size=1m'] },
  ],
  capabilities: ['CAP_CHOWN'],
  noNewPrivileges: true,
  pidHost: false,
  privileged: false,
  limits: { memoryBytes: undefined, nanoCpus: undefined, pids: undefined },
};

const CONTEXT = {
  name: 'n',
  netns: '/run/netns/x',
  folder: '/f',
  cgroupParent: 'sluice/id',
  ulimits: [],
};

test('a container has what its task says, and nothing of what podman would add', () => {
  const args = createArguments(SPEC, CONTEXT);
  for (const wanted of [
    ...['--network=ns:/run/netns/x', '--cgroup-parent=/sluice/id', '--hostname=box'],
    ...['--cap-drop=all', '--cap-add=CAP_CHOWN', '--security-opt=no-new-privileges'],
    ...['--env=PATH=/bin', '--env=HOSTNAME=box', '--env=A=b c', '--workdir=/work', '--user=1:2'],
    ...['--interactive', '--tmpfs=/run:size=1m', '--entrypoint='],
    '--mount=type=bind,"source=/a,""b""",target=/data,bind-propagation=rslave,readonly',
    '--mount=type=bind,source=/f/hosts,target=/etc/hosts',
  ]) {
    assert.ok(args.includes(wanted), wanted);
  }
  assert.equal(args.filter((one) => one.startsWith('--env=PATH=')).length, 1);
  assert.deepEqual(args.slice(-5), ['--', 'b'.repeat(64), 'sh', '-c', 'true']);
});

test('with the network and name of the host, without groups', () => {
  const spec = { ...SPEC, hostname: '', mounts: [], privileged: true };
  const args = createArguments(spec, { ...CONTEXT, netns: undefined, cgroupParent: undefined });
  for (const wanted of ['--network=host', '--uts=host', '--cgroups=disabled', '--privileged']) {
    assert.ok(args.includes(wanted), wanted);
  }
  assert.ok(!args.some((one) => one.startsWith('--cap')));
});

test('a relative mount is refused', () => {
  const mounts = [
    { kind: 'tmpfs', source: '', target: 'x', readOnly: false, options: [] },
  ] as const;
  assert.throws(() => createArguments({ ...SPEC, mounts }, CONTEXT), /an absolute path is needed/);
});

test('of a failure only the reason is told', () => {
  const inner = 'exec: "foo": executable file not found in $PATH';
  assert.equal(
    podmanReason(
      `time="now" level=warning msg="x"\nError: runc: runc create failed: unable to start container process: ${inner}: OCI runtime attempted to invoke a command that was not found\n`,
    ),
    inner,
  );
  assert.equal(
    podmanReason(
      `Error: unable to start container "${'c'.repeat(64)}": crun: ${inner}: OCI permission denied`,
    ),
    inner,
  );
  assert.equal(podmanReason(''), '');
});

test('no limit beyond what the agent has', () => {
  const text = 'Max processes   96365   96365   processes\nMax open files  1024   20000   files\n';
  assert.deepEqual(ulimits(text, 32_768), [
    '--ulimit=nofile=20000:20000',
    '--ulimit=nproc=32768:32768',
  ]);
  const free = 'Max processes   unlimited   unlimited   processes\n';
  assert.deepEqual(ulimits(free, 4_194_304), [
    '--ulimit=nofile=1048576:1048576',
    '--ulimit=nproc=1048576:1048576',
  ]);
});

test('names of images as users write them and as they are kept', () => {
  assert.equal(canonicalName('bb:1'), 'docker.io/library/bb:1');
  assert.equal(canonicalName('me/bb:1'), 'docker.io/me/bb:1');
  assert.equal(canonicalName('example.test/bb:1'), 'example.test/bb:1');
  assert.equal(canonicalName('localhost/bb:1'), 'localhost/bb:1');
  for (const name of ['docker.io/library/bb:1', 'localhost/bb:1']) {
    assert.equal(familiarName(name), 'bb:1');
  }
  assert.equal(familiarName('docker.io/me/bb:1'), 'me/bb:1');
  assert.equal(imageName('bb', ''), 'bb:latest');
  assert.equal(imageName('bb:1', ''), 'bb:1');
  assert.equal(imageName('example.test:5000/bb', '2'), 'example.test:5000/bb:2');
  assert.throws(() => imageName('Bad', '1'), /invalid reference format/);
  assert.throws(() => imageName('bb', '-x'), /invalid reference format/);
});
