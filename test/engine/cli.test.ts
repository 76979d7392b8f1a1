import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CliIo, runCli } from '../../src/cli/program.ts';
import { parsePublished } from '../../src/client/port-spec.ts';
import { serveEngine } from '../support/engine.ts';

/** Runs `sluice` against an engine; what it said and its exit status. */
async function commandLine(t: { after(task: () => void): void }) {
  const { path, engine, agent } = await serveEngine(t);
  const sluice = async (line: string, input = '') => {
    let [out, err, status] = ['', '', 0];
    const io: CliIo = {
      config: { readFile: () => undefined, env: {} } as unknown as CliIo['config'],
      admin: undefined,
      token: undefined,
      engine: `unix://${path}`,
      version: '0',
      print: (text) => {
        out += `${text}\n`;
      },
      warn: (text) => {
        err += `${text}\n`;
      },
      fail: (text, code = 1) => {
        err += text === '' ? '' : `${text}\n`;
        status = code;
      },
      write: (stream, data) => {
        if (stream === 'stdout') out += data;
        else err += data;
      },
      input: async function* () {
        yield Buffer.from(input);
      },
      screen: undefined as unknown as CliIo['screen'],
      writeFile: () => {},
      examineHost: async () => [],
    };
    await runCli(io, ['node', 'sluice', ...line.split(' ')]);
    return { out: out.trimEnd(), err: err.trimEnd(), status };
  };
  return { sluice, engine, agent };
}

test('networks: the same verbs, flags and words as docker', async (t) => {
  const { sluice, engine } = await commandLine(t);
  const made = await sluice(
    'network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 --gateway 10.9.0.9 --aux-address r=10.9.0.5 --label a=b -o x=y --internal na',
  );
  assert.match(made.out, /^[0-9a-f]{64}$/);
  const { ipam, labels, internal, options } = engine.registry.network('na');
  assert.deepEqual(ipam.blocks, [
    {
      subnet: '10.9.0.0/24',
      ipRange: '10.9.0.128/25',
      gateway: '10.9.0.9',
      auxAddresses: { r: '10.9.0.5' },
    },
  ]);
  assert.deepEqual([labels, internal, options], [{ a: 'b' }, true, { x: 'y' }]);
  assert.equal((await sluice('network ls -q -f label=a=b')).out, made.out.slice(0, 12));
  assert.match((await sluice('network ls')).out, /^[0-9a-f]{12} {2}na +bridge +local$/m);
  assert.equal(JSON.parse((await sluice('network inspect na host')).out).length, 2);
  assert.deepEqual(await sluice('network create na'), {
    out: '',
    err: 'sluice: network with name na already exists',
    status: 1,
  });
  const gone = await sluice('network rm na bridge');
  assert.deepEqual([gone.out, gone.status], ['na', 1]);
  assert.match(gone.err, /bridge is a pre-defined network and cannot be removed/);
  assert.match((await sluice('network create --gateway 10.1.0.1 x')).err, /no matching subnet/);
});

test('run: in the foreground, with input, detached, and its exit codes', {
  timeout: 20_000,
}, async (t) => {
  const { sluice, engine } = await commandLine(t);
  assert.deepEqual(await sluice('run host echo hello'), { out: 'hello', err: '', status: 0 });
  assert.equal((await sluice('run --rm host exit 3')).status, 3);
  assert.equal((await sluice('run -i host cat', 'typed')).out, 'typed');
  assert.equal((await sluice('run host missing')).status, 127);
  assert.equal((await sluice('run host denied')).status, 126);
  assert.equal((await sluice('run --network nope host sleep')).status, 125);
  const line =
    'run -d --name web -p 127.0.0.1:8080:80 -e A=b --restart on-failure:3 -m 64m --cpus 0.5 --health-cmd true --health-interval 5s -h box host sleep';
  assert.match((await sluice(line)).out, /^[0-9a-f]{64}$/);
  const { spec } = engine.registry.container('web');
  assert.deepEqual(spec.restart, { when: 'on-failure', maximum: 3 });
  assert.deepEqual([spec.limits.memoryBytes, spec.limits.nanoCpus], [64 * 1024 ** 2, 5e8]);
  assert.deepEqual([spec.hostname, spec.env, spec.health?.intervalMs], ['box', ['A=b'], 5000]);
  await sluice('rm -f web');
});

test('containers: ps, port, logs, orders and inspection', { timeout: 20_000 }, async (t) => {
  const { sluice } = await commandLine(t);
  await sluice('run -d --name web -p 8080:80 host sleep');
  assert.match((await sluice('ps')).out, /0\.0\.0\.0:8080->80\/tcp, \[::\]:8080->80\/tcp +web$/m);
  assert.equal((await sluice('port web')).out, '80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080');
  assert.match((await sluice('port web 81')).err, /No public port '81\/tcp' published for web/);
  assert.equal(JSON.parse((await sluice('inspect web')).out)[0].Name, '/web');
  assert.match((await sluice('inspect nope')).err, /no such object: nope/);
  for (const order of ['pause', 'unpause', 'restart', 'stop', 'start', 'kill']) {
    assert.deepEqual(await sluice(`${order} web`), { out: 'web', err: '', status: 0 }, order);
  }
  assert.equal((await sluice('wait web')).out, '137');
  assert.equal((await sluice('rename web site')).status, 0);
  assert.equal((await sluice('rm site')).out, 'site');
  await sluice('run --name talk host echo said');
  assert.equal((await sluice('logs talk')).out, 'said');
});

test('without a daemon the status says so', async () => {
  let [said, status] = ['', 0];
  const io = {
    engine: 'unix:///nowhere/x.sock',
    version: '0',
    fail: (text: string, code: number) => {
      [said, status] = [text, code];
    },
  } as unknown as CliIo;
  await runCli(io, ['node', 'sluice', 'ps']);
  assert.equal(status, 3);
  assert.match(said, /no answer from unix:\/\/\/nowhere\/x\.sock/);
});

const PORTS: readonly (readonly [string, string])[] = [
  ['80', '80/tcp :'],
  ['8080:80', '80/tcp :8080'],
  ['127.0.0.1:8080:80/udp', '80/udp 127.0.0.1:8080'],
  ['127.0.0.1::80', '80/tcp 127.0.0.1:'],
  ['[::1]:8080:80', '80/tcp ::1:8080'],
  ['9000-9002:80', '80/tcp :9000-9002'],
  ['81-82:91-92', '91/tcp :81, 92/tcp :82'],
  ['published=8080,target=80,protocol=udp', '80/udp :8080'],
];
for (const [spec, wanted] of PORTS) {
  test(`-p ${spec}`, () => {
    const shown = Object.entries(parsePublished([spec]).bindings).flatMap(([key, list]) =>
      list.map(({ HostIp, HostPort }) => `${key} ${HostIp}:${HostPort}`),
    );
    assert.equal(shown.join(', '), wanted);
  });
}

test('what is no port is refused', () => {
  for (const spec of ['x', '1-3:1-2', '1.2.3:80:80', 'published=80']) {
    assert.throws(() => parsePublished([spec]), /invalid port/, spec);
  }
});
