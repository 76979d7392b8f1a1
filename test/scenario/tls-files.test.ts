import assert from 'node:assert/strict';
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Pki, noOpenssl as skip } from '../support/pki.ts';

const HOST = '127.0.0.1';
const pki = new Pki();
after(() => pki.remove());
if (skip === false) {
  pki.authority('ca');
  pki.certificate('one', 'one.example.com');
  pki.certificate('two', 'two.example.com');
  pki.certificate('old', 'old.example.com', { days: '-1' });
}

/** Puts a pair in a directory of its own and points the link `current` at it, in one step. */
function swap(directory: string, pair: { cert: string; key: string }): void {
  const version = `v${process.hrtime.bigint()}`;
  mkdirSync(join(directory, version));
  writeFileSync(join(directory, version, 'tls.pem'), pair.cert);
  writeFileSync(join(directory, version, 'tls.key'), pair.key);
  symlinkSync(version, join(directory, 'next'));
  renameSync(join(directory, 'next'), join(directory, 'current'));
}

const pair = (name: string) => ({ cert: pki.read(`${name}.pem`), key: pki.read(`${name}.key`) });

/** The common name of the certificate that a new handshake is shown. */
function shown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: HOST, port, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

async function start(t: TestContext, name: string) {
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls: { certificates: [{ cert: "{DIR}/current/tls.pem", key: "{DIR}/current/tls.key" }] }
    routes: [{ respond: { body: hello } }]
`,
    { prepare: (directory) => swap(directory, pair(name)) },
  );
  t.after(() => gateway.stop());
  return { port, gateway };
}

test('a certificate swapped by symlink is taken; what cannot be used never is', {
  skip,
}, async (t) => {
  const { port, gateway } = await start(t, 'one');
  const counted = (result: string) =>
    gateway.metric(`sluice_certificate_reloads_total{result="${result}"}`);
  assert.equal(await shown(port), 'one.example.com');

  const { cert, key } = pair('two');
  const wrong = [
    { cert: cert.slice(0, cert.length / 2), key },
    { cert, key: pair('one').key },
    { cert, key: '' },
  ];
  for (const [index, one] of wrong.entries()) {
    swap(gateway.directory, one);
    await eventually('it is refused', async () => (await counted('refused')) === index + 1);
    assert.equal(await shown(port), 'one.example.com');
  }
  assert.match(gateway.output, /the old contents stay in force/);

  const { workers } = JSON.parse((await gateway.admin('/v1/status')).text);
  process.kill(workers[0].pid, 'SIGKILL');
  await eventually('a new worker serves', async () => {
    return (await gateway.metric('sluice_worker_restarts_total')) === 1;
  });
  await eventually('it serves', async () => (await gateway.admin('/readyz')).status === 200);
  assert.equal(await shown(port), 'one.example.com', 'a new worker is given the old pair too');

  swap(gateway.directory, { cert, key });
  await eventually('the new pair is shown', async () => (await shown(port)) === 'two.example.com');
  assert.equal(await counted('applied'), 1);
});

test('a certificate past its time serves, and is warned of', { skip }, async (t) => {
  const { port, gateway } = await start(t, 'old');
  assert.equal(await shown(port), 'old.example.com');
  assert.match(gateway.output, /"level":40.*certificates\.0\.cert: the certificate has expired on/);
  const path = `${gateway.directory}/current/tls.pem`;
  const series = `sluice_certificate_not_after_seconds{listener="web",certificate="${path}"}`;
  await eventually('its end is told', async () => {
    return ((await gateway.metric(series)) ?? Number.POSITIVE_INFINITY) < Date.now() / 1000;
  });
});
