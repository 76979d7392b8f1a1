import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const SLUICED = new URL('../../src/main/sluiced.ts', import.meta.url).pathname;

/** The status of an answer, or the reason why there is none. */
function ask(options: http.RequestOptions): Promise<string> {
  return new Promise((resolve) => {
    const request = http.get({ path: '/', agent: false, timeout: 3000, ...options }, (response) => {
      response.resume();
      response.on('end', () => resolve(`${response.statusCode}`));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
  });
}

/** The first of three ports in a row of 127.0.0.1 that nobody listens on. */
async function threePorts(): Promise<number> {
  for (;;) {
    const [first = 0, , last = 0] = await freePorts(3);
    if (last === first + 2) return first;
  }
}

test('binds: IPv4, IPv6, both, a range, several, unix sockets with a mode', async (t) => {
  const first = await threePorts();
  const [four = 0, six = 0, both = 0] = await freePorts(3);
  const listener = (name: string, bind: string) =>
    `  ${name}: { bind: ${bind}, protocol: http, routes: [{ respond: { status: 200 } }] }\n`;
  const config = `listeners:
${listener('four', `["127.0.0.1:${four}", { unix: "{DIR}/private.sock", mode: "0600" }]`)}
${listener('six', `"[::1]:${six}"`)}
${listener('both', `":${both}"`)}
${listener('range', `"127.0.0.1:${first}-${first + 2}"`)}
${listener('unix', `"unix:{DIR}/open.sock"`)}
`;
  const gateway = await Gateway.start(config, { workers: 2 });
  t.after(() => gateway.stop());
  const answers = async () => ({
    four: await ask({ host: '127.0.0.1', port: four }),
    'four by six': await ask({ host: '::1', port: four }),
    six: await ask({ host: '::1', port: six }),
    'six by four': await ask({ host: '127.0.0.1', port: six }),
    both: [await ask({ host: '127.0.0.1', port: both }), await ask({ host: '::1', port: both })],
    range: await Promise.all(
      [0, 1, 2].map((step) => ask({ host: '127.0.0.1', port: first + step })),
    ),
    unix: await ask({ socketPath: join(gateway.directory, 'open.sock') }),
    private: await ask({ socketPath: join(gateway.directory, 'private.sock') }),
  });
  const whole = {
    four: '200',
    'four by six': 'ECONNREFUSED',
    six: '200',
    'six by four': 'ECONNREFUSED',
    both: ['200', '200'],
    range: ['200', '200', '200'],
    unix: '200',
    private: '200',
  };
  assert.deepEqual(await answers(), whole);
  assert.equal(statSync(join(gateway.directory, 'private.sock')).mode & 0o777, 0o600);

  gateway.write(
    config
      .replace(`${first}-${first + 2}`, `${first + 1}-${first + 2}`)
      .replace(/^ {2}six.*$/m, '')
      .replace('  unix:', '  renamed:')
      .replace('0600', '0640'),
    2,
  );
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  const left = { ...whole, six: 'ECONNREFUSED', range: ['ECONNREFUSED', '200', '200'] };
  await eventually('what is gone is not listened on', async () => {
    return JSON.stringify(await answers()) === JSON.stringify(left);
  });
  // The sockets that were replaced are closed a second later.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepEqual(await answers(), left);
  assert.equal(statSync(join(gateway.directory, 'private.sock')).mode & 0o777, 0o640);
  await gateway.stop();
  assert.ok(!existsSync(join(gateway.directory, 'open.sock')));
});

test('a socket that the service manager passes is named by `fd:`', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  // exempt(as): Node has no public way to the descriptor of a server.
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle;
  const config = join(directory, 'sluice.yaml');
  writeFileSync(
    config,
    `workers: 2
listeners: { web: { bind: "fd:web", protocol: http, routes: [{ respond: { body: passed } }] } }
`,
  );
  // The number of the process is part of the protocol: the shell becomes the daemon.
  const command = `LISTEN_PID=$$ exec "${process.execPath}" "${SLUICED}" -c "${config}"`;
  const daemon = spawn('sh', ['-c', command], {
    stdio: ['ignore', 'pipe', 'pipe', fd],
    env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'web' },
  });
  let output = '';
  for (const stream of [daemon.stdout, daemon.stderr]) {
    stream?.on('data', (data) => {
      output += data;
    });
  }
  const ended = once(daemon, 'exit');
  t.after(async () => {
    daemon.kill('SIGTERM');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  await eventually('it serves', () => output.includes('Try next'));
  // What the manager keeps open would take connections too.
  server.close();
  for (let turn = 0; turn < 4; turn++) {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
    assert.equal(await answer.text(), 'passed');
  }
});
