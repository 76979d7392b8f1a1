import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { noCertificates } from '../support/certs.ts';
import { eventually } from '../support/gateway.ts';
import { nginxMissing } from '../support/nginx.ts';
import { EchoBackend, SideBySide } from '../support/side-by-side.ts';

const skip = nginxMissing || noCertificates();
const BOTH = ['nginx', 'sluice'] as const;

function certificate(directory: string, file: string, name: string): void {
  const fixed = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2';
  const files = ['-keyout', join(directory, `${file}.key`), '-out', join(directory, `${file}.pem`)];
  const names = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
  execFileSync('openssl', [...fixed.split(' '), ...names, ...files], { stdio: 'ignore' });
}

function certificates(directory: string): void {
  certificate(directory, 'one', 'one.example');
  certificate(directory, 'two', 'two.example');
}

function portOf(server: { address(): unknown }): number {
  const address = server.address();
  return typeof address === 'object' && address !== null && 'port' in address
    ? Number(address.port)
    : 0;
}

/** Sends a text and gives what comes until the other side has finished. */
async function exchange(port: number, text: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let got = '';
  socket.on('data', (data) => {
    got += data;
  });
  socket.on('error', () => {});
  socket.write(text);
  socket.setTimeout(20_000, () => socket.destroy());
  await new Promise((resolve) => socket.on('close', resolve));
  return got;
}

/** A server that says its name and the first bytes that it got, and ends. */
async function naming(name: string): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => socket.end(`${name} ${data}`));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** The name that the server which answers a handshake shows; '': it ended. */
function shownName(port: number, servername: string | undefined): Promise<string> {
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, rejectUnauthorized: false };
    const socket = tls.connect(servername === undefined ? options : { ...options, servername });
    socket.on('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', () => resolve(''));
    socket.on('close', () => resolve(''));
  });
}

describe('tls.conf: HTTPS with two certificates', { skip }, () => {
  const backends = ['one', 'two'].map((name) => new EchoBackend(name));
  let side: SideBySide;
  before(async () => {
    for (const backend of backends) await backend.start();
    const ports = new Map(backends.map(({ port }, index) => [9001 + index, port]));
    side = await SideBySide.start('tls.conf', [8080, 8443], ports, certificates);
  });
  after(async () => {
    await side?.stop();
    for (const backend of backends) backend.stop();
  });

  test('the certificate and the server of a name', async () => {
    for (const which of BOTH) {
      const port = side.port(which, 8443);
      assert.equal(await shownName(port, 'one.example'), 'one.example', which);
      assert.equal(await shownName(port, 'two.example'), 'two.example', which);
      assert.equal(await shownName(port, 'other.example'), 'one.example', which);
    }
    for (const host of ['one.example', 'two.example', 'other.example', 'two.example:8443']) {
      const name = host.replace(/:.*/, '');
      const asked = { path: '/x?y', listen: 8443, serverName: name, headers: { host } };
      const { nginx, sluice } = await side.ask(asked);
      assert.deepEqual(JSON.parse(sluice.text), JSON.parse(nginx.text), host);
      assert.equal(nginx.status, 200);
      for (const { headers } of [nginx, sluice]) {
        assert.equal(headers['strict-transport-security'], 'max-age=31536000');
      }
    }
  });

  test('plain requests are sent to HTTPS', async () => {
    const { nginx, sluice } = await side.ask({ path: '/a?b', headers: { host: 'two.example' } });
    assert.deepEqual([sluice.status, sluice.location], [nginx.status, nginx.location]);
    assert.equal(sluice.location, 'https://two.example/a?b');
    for (const { headers } of [nginx, sluice]) {
      assert.equal(headers['strict-transport-security'], 'max-age=31536000');
    }
  });

  test('HTTP/2 is agreed on', async () => {
    for (const which of BOTH) {
      const options = {
        host: '127.0.0.1',
        port: side.port(which, 8443),
        rejectUnauthorized: false,
      };
      const socket = tls.connect({ ...options, ALPNProtocols: ['h2', 'http/1.1'] });
      await once(socket, 'secureConnect');
      assert.equal(socket.alpnProtocol, 'h2', which);
      socket.destroy();
    }
  });
});

describe('real-ip.conf: the client that a trusted proxy tells', { skip }, () => {
  const backend = new EchoBackend('one');
  let side: SideBySide;
  before(async () => {
    await backend.start();
    side = await SideBySide.start('real-ip.conf', [8080, 8081], new Map([[9001, backend.port]]));
  });
  after(async () => {
    await side?.stop();
    backend.stop();
  });

  test('X-Forwarded-For of a trusted peer', async () => {
    for (const address of ['192.0.2.7', '198.51.100.1', '198.51.100.1, 192.0.2.9', undefined]) {
      const headers: http.OutgoingHttpHeaders =
        address === undefined ? {} : { 'x-forwarded-for': address };
      const x = await side.ask({ path: '/x', headers });
      const client = ({ text }: { text: string }) => JSON.parse(text).headers['x-client'];
      assert.equal(client(x.sluice), client(x.nginx), String(address));
      const net = await side.ask({ path: '/net', headers });
      assert.equal(net.sluice.status, net.nginx.status, String(address));
    }
  });

  test('a PROXY header', async () => {
    const head = 'PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n';
    const request = 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    for (const which of BOTH) {
      const answer = await exchange(side.port(which, 8081), head + request);
      assert.match(answer, /"x-client":"192\.0\.2\.7"/, which);
      assert.match(answer, /"x-forwarded-for":"192\.0\.2\.7"/, which);
      const bare = await exchange(side.port(which, 8081), request);
      assert.doesNotMatch(bare, /x-client/, which);
    }
  });
});

describe('stream.conf: TCP, TLS by name, UDP', { skip }, () => {
  const servers: { close(): void }[] = [];
  let side: SideBySide;
  before(async () => {
    const ports = new Map<number, number>();
    for (const [written, name] of [
      [9001, 'lines'],
      [9005, 'proxied'],
    ] as const) {
      const server = await naming(name);
      servers.push(server);
      ports.set(written, portOf(server));
    }
    const udp = dgram.createSocket('udp4');
    udp.on('message', (data, { port, address }) => udp.send(`echo ${data}`, port, address));
    udp.bind(0, '127.0.0.1');
    await once(udp, 'listening');
    servers.push(udp);
    ports.set(9053, udp.address().port);
    const directory = mkdtempSync(join(tmpdir(), 'sluice-certs-'));
    certificates(directory);
    for (const [written, name] of [
      [9443, 'one'],
      [9444, 'two'],
    ] as const) {
      const [cert, key] = ['pem', 'key'].map((kind) =>
        readFileSync(join(directory, `${name}.${kind}`)),
      );
      const server = tls.createServer(
        { cert: cert ?? Buffer.of(), key: key ?? Buffer.of() },
        (socket) => {
          socket.on('error', () => {});
        },
      );
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      servers.push(server);
      ports.set(written, portOf(server));
    }
    rmSync(directory, { recursive: true });
    side = await SideBySide.start('stream.conf', [8080, 8081, 8082, 8443, 8053], ports);
  });
  after(async () => {
    await side?.stop();
    for (const server of servers) server.close();
  });

  test('nothing is left out', () => {
    assert.deepEqual(side.result.report.unsupported, []);
  });

  test('the server name decides', async () => {
    for (const which of BOTH) {
      const port = side.port(which, 8443);
      assert.equal(await shownName(port, 'one.example'), 'one.example', which);
      assert.equal(await shownName(port, 'ONE.example'), 'one.example', which);
      assert.equal(await shownName(port, 'a.b.wild.example'), 'two.example', which);
      assert.equal(await shownName(port, 'other.example'), 'two.example', which);
      assert.equal(await shownName(port, undefined), 'two.example', which);
    }
  });

  test('a server that is away costs no connection', async () => {
    for (const which of BOTH) {
      for (let turn = 0; turn < 10; turn++) {
        assert.equal(await exchange(side.port(which, 8080), 'hi'), 'lines hi', which);
      }
    }
  });

  test('a PROXY header is sent; a denied address gets nothing', async () => {
    for (const which of BOTH) {
      const got = await exchange(side.port(which, 8081), 'hi');
      assert.match(got, /^proxied PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\n/, which);
      assert.equal(await exchange(side.port(which, 8082), 'hi'), '', which);
    }
  });

  test('UDP is answered', async () => {
    for (const which of BOTH) {
      for (const text of ['a', 'b']) {
        const client = dgram.createSocket('udp4');
        let got = '';
        client.on('message', (data) => {
          got = String(data);
        });
        await eventually(`${which} answers`, () => {
          if (got === '') client.send(text, side.port(which, 8053), '127.0.0.1');
          return got !== '';
        });
        assert.equal(got, `echo ${text}`);
        client.close();
      }
    }
  });
});

describe('seed-nginx-stream.conf: three managers behind one port', { skip }, () => {
  const servers: net.Server[] = [];
  let side: SideBySide;
  before(async () => {
    const ports = new Map<number, number>();
    for (const written of [9443, 9444, 9445]) {
      const server = await naming(String(written));
      servers.push(server);
      ports.set(written, portOf(server));
    }
    side = await SideBySide.start('seed-nginx-stream.conf', [8443], ports);
  });
  after(async () => {
    await side?.stop();
    for (const server of servers) server.close();
  });

  test('in turn, and without one that dies', async () => {
    const ask = async (which: (typeof BOTH)[number], count: number) => {
      const got = new Map<string, number>();
      for (let turn = 0; turn < count; turn++) {
        const answer = await exchange(side.port(which, 8443), 'x');
        got.set(answer, (got.get(answer) ?? 0) + 1);
      }
      return [...got].sort();
    };
    const all = ['9443 x', '9444 x', '9445 x'];
    for (const which of BOTH) {
      assert.deepEqual(
        await ask(which, 9),
        all.map((name) => [name, 3]),
        which,
      );
    }
    servers.shift()?.close();
    for (const which of BOTH) {
      const left = await ask(which, 12);
      assert.deepEqual(
        left.map(([name]) => name),
        all.slice(1),
        which,
      );
      assert.equal(
        left.reduce((sum, [, count]) => sum + count, 0),
        12,
      );
    }
  });
});
