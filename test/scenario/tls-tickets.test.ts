import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import tls, { type SecureVersion } from 'node:tls';
import { Backend } from '../support/backend.ts';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const skip = noCertificates();
const GET = 'GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n';
const NAME_BYTES = 16;
const CONNECTIONS = 16;
const HOUR = '1h';

/** A session of a client: what it resumes with, and the name of the key that sealed its ticket. */
type Session = { bytes: Buffer; keyName: string; reused: boolean };

/** Asks on a new connection, resuming a session if one is given; the session that it ends with. */
function ask(port: number, version: SecureVersion, resumed?: Session): Promise<Session> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer | undefined;
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      servername: 'example.com',
      rejectUnauthorized: false,
      minVersion: version,
      maxVersion: version,
      ...(resumed ? { session: resumed.bytes } : {}),
    });
    socket.on('session', (session: Buffer) => {
      bytes = session;
    });
    let reused = false;
    socket.once('secureConnect', () => {
      reused = socket.isSessionReused();
      socket.write(GET);
    });
    socket.once('error', reject);
    let text = '';
    let ticket: Buffer | undefined;
    socket.on('data', (data) => {
      ticket ??= socket.getTLSTicket();
      // No event tells of a ticket that was renewed while resuming.
      if (version === 'TLSv1.2') bytes = socket.getSession();
      text += data;
    });
    socket.once('close', () => {
      const kept = bytes ?? resumed?.bytes;
      if (!/^HTTP\/1.1 200/.test(text) || !kept) reject(new Error(`no answer: ${text}`));
      else {
        const keyName = (ticket ?? kept).subarray(0, NAME_BYTES).toString('hex');
        resolve({ bytes: kept, keyName, reused });
      }
    });
  });
}

function config(port: number, backend: number, rotate: string): string {
  return `tickets: { rotate: ${rotate} }
listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: https
    service: app
    tls: { certificates: [{ cert: "{DIR}/example.com.pem", key: "{DIR}/example.com.key" }] }
services:
  app: { endpoints: ["127.0.0.1:${backend}"] }
`;
}

async function setUp(t: TestContext) {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  const gateway = await Gateway.start(config(port, backendPort, HOUR), {
    workers: 2,
    prepare: makeCertificates,
  });
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  /** Makes keys be replaced until a new one is seen, and then no more. */
  const rotate = async (old: string) => {
    const reload = async (every: string) => {
      gateway.write(config(port, backendPort, every), 2);
      const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
      assert.equal(status, 200, text);
    };
    await reload('2s');
    await eventually(
      'a new key is in use',
      async () => (await ask(port, 'TLSv1.2')).keyName !== old,
    );
    await reload(HOUR);
    return (await ask(port, 'TLSv1.2')).keyName;
  };
  return { port, gateway, rotate };
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: a session resumes at every worker and after a rotation, not after two`, {
    skip,
  }, async (t) => {
    const { port, gateway, rotate } = await setUp(t);
    const first = await ask(port, version);
    assert.equal(first.reused, false);
    const perWorker = async () => {
      const { text } = await gateway.admin('/v1/status');
      return (JSON.parse(text) as { workers: unknown[] }).workers.length;
    };
    assert.equal(await perWorker(), 2);
    // The kernel spreads connections over the workers by their ports: sixteen reach both.
    for (let at = 0; at < CONNECTIONS; at++) {
      assert.equal((await ask(port, version, first)).reused, true, `connection ${at}`);
    }
    const oldName = (await ask(port, 'TLSv1.2')).keyName;
    const second = await rotate(oldName);
    assert.notEqual(second, oldName);
    let renewed = first;
    for (let at = 0; at < CONNECTIONS; at++) {
      renewed = await ask(port, version, first);
      assert.equal(renewed.reused, true, `connection ${at} after a rotation`);
    }
    const third = await rotate(second);
    assert.notEqual(third, second);
    for (let at = 0; at < CONNECTIONS; at++) {
      assert.equal((await ask(port, version, first)).reused, false, 'two rotations are too many');
      assert.equal((await ask(port, version, renewed)).reused, true, 'the renewed one is good');
    }
    const series = `sluice_tls_handshakes_total{listener="web",version="${version}",resumed="yes"}`;
    assert.ok(((await gateway.metric(series)) ?? 0) >= 3 * CONNECTIONS);
  });
}
