import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { WebSocketServer } from 'ws';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { get, RawHttp2, TYPE } from '../support/http2-raw.ts';

const INADEQUATE_SECURITY = 12;
const run = promisify(execFile);

type Answer = {
  headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  body: Buffer;
  trailers: http2.IncomingHttpHeaders | undefined;
  interims: number[];
};

let to = 0;
let plain = 0;
let secure = 0;
let h2only = 0;
let nocleartext = 0;
let few = 0;
let gateway: Gateway | undefined;
let backend: http.Server | undefined;
let openRequests = 0;
const noTls = noCertificates();

function serve(request: http.IncomingMessage, response: http.ServerResponse): void {
  const url = request.url ?? '';
  openRequests++;
  response.on('close', () => openRequests--);
  if (url === '/never') return;
  if (url === '/cut') {
    response.writeHead(200, { 'content-length': '100' }).write('abc');
    setTimeout(() => response.destroy(), 20);
    return;
  }
  if (url === '/refuse') {
    response.writeHead(403).end('no');
    return;
  }
  if (url === '/early') response.writeEarlyHints({ link: '</a.css>; rel=preload' });
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    response.setHeader('X-Upper-Case', 'yes');
    response.setHeader('x-seen', JSON.stringify({ ...request.headers, method: request.method }));
    if (url === '/empty') response.writeHead(204).end();
    else if (url === '/echo') response.end(Buffer.concat(chunks));
    else if (url === '/trailers') {
      response.setHeader('trailer', 'x-sum');
      response.write(JSON.stringify(request.trailers));
      response.addTrailers({ 'x-sum': 'abc' });
      response.end();
    } else response.end('hello');
  });
}

before(async () => {
  backend = http.createServer(serve);
  const sockets = new WebSocketServer({ server: backend, handleProtocols: () => 'chat' });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => backend?.listen(0, '127.0.0.1', resolve));
  to = (backend.address() as net.AddressInfo).port;
  [plain = 0, secure = 0, h2only = 0, nocleartext = 0, few = 0] = await freePorts(5);
  const pairs = '{ cert: {DIR}/c/example.com.pem, key: {DIR}/c/example.com.key }';
  const secured = `  secure:
    bind: "127.0.0.1:${secure}"
    protocol: https
    service: app
    tls: { certificates: [${pairs}] }
  h2only:
    bind: "127.0.0.1:${h2only}"
    protocol: https
    service: app
    tls: { alpn: [h2], certificates: [${pairs}] }
`;
  gateway = await Gateway.start(
    `listeners:
  plain: { bind: "127.0.0.1:${plain}", protocol: http, service: app, limits: { maxBodyBytes: 9MiB } }
  nocleartext: { bind: "127.0.0.1:${nocleartext}", protocol: http, service: app, http: { h2c: false } }
  few:
    bind: "127.0.0.1:${few}"
    protocol: http
    service: app
    limits: { maxRequestsPerConnection: 3, maxConcurrentStreams: 2 }
${noTls ? '' : secured}services: { app: { endpoints: ["127.0.0.1:${to}"] } }
`,
    { prepare: (directory) => noTls || makeCertificates(`${directory}/c`) },
  );
});

after(async () => {
  await gateway?.stop();
  backend?.closeAllConnections();
  backend?.close();
});

async function withSession<T>(
  use: (session: http2.ClientHttp2Session) => Promise<T>,
  url = `http://127.0.0.1:${plain}`,
  options: http2.SecureClientSessionOptions = {},
): Promise<T> {
  // Node's client gives streams up that make it keep more than 10 MB.
  const bounds = { rejectUnauthorized: false, maxSessionMemory: 100 };
  const session = http2.connect(url, { ...bounds, ...options });
  session.on('error', () => {});
  try {
    return await use(session);
  } finally {
    session.destroy();
  }
}

function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Buffer,
  trailers?: http2.OutgoingHttpHeaders,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { endStream: body === undefined, waitForTrailers: trailers !== undefined };
    const stream = session.request(headers, options);
    const answer: Partial<Answer> = { interims: [] };
    const chunks: Buffer[] = [];
    stream.on('headers', (interim) => answer.interims?.push(Number(interim[':status'])));
    stream.on('response', (received) => {
      answer.headers = received;
    });
    stream.on('trailers', (received) => {
      answer.trailers = received;
    });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers ?? {}));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => resolve({ ...answer, body: Buffer.concat(chunks) } as Answer));
    stream.on('error', reject);
    stream.setTimeout(8000, () => stream.destroy(new Error('no answer')));
    if (body) stream.end(body);
  });
}

test('a request becomes HTTP/1.1 to the endpoint, and the answer HTTP/2', async () => {
  await withSession(async (session) => {
    const { headers, body } = await ask(session, { ':path': '/a?b', cookie: ['a=1', 'b=2'] });
    assert.equal(headers[':status'], 200);
    assert.equal(headers['x-upper-case'], 'yes');
    assert.equal(headers['connection'], undefined);
    assert.equal(body.toString(), 'hello');
    const seen = JSON.parse(String(headers['x-seen']));
    assert.equal(seen.cookie, 'a=1; b=2');
    assert.equal(seen.host, `127.0.0.1:${plain}`);
    assert.equal(seen['transfer-encoding'], undefined);
    assert.equal(seen.connection, undefined);
  });
});

test('bodies of several megabytes pass both ways, many at a time', async () => {
  const body = randomBytes(3_000_000);
  await withSession(async (session) => {
    const asked = Array.from({ length: 8 }, () =>
      ask(session, { ':path': '/echo', ':method': 'POST' }, body),
    );
    for (const answer of await Promise.all(asked)) assert.ok(answer.body.equals(body));
  });
});

test('a body whose length is known keeps it; a limit on bodies is 413', async () => {
  await withSession(async (session) => {
    const small = await ask(session, { ':path': '/', ':method': 'PUT' }, Buffer.from('abc'));
    assert.equal(JSON.parse(String(small.headers['x-seen']))['content-length'], '3');
    const head = { ':path': '/', ':method': 'PUT', 'content-length': '10000000' };
    const large = await ask(session, head, Buffer.alloc(10_000_000)).catch(() => undefined);
    assert.equal(large?.headers[':status'] ?? 413, 413);
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  });
});

test('trailers both ways, TE, interim answers, HEAD and 204', async () => {
  await withSession(async (session) => {
    const head = { ':path': '/trailers', ':method': 'POST', te: 'trailers' };
    const answer = await ask(session, head, Buffer.from('x'), { 'x-req': '1' });
    assert.deepEqual(JSON.parse(answer.body.toString()), { 'x-req': '1' });
    assert.equal(answer.trailers?.['x-sum'], 'abc');
    const seen = JSON.parse(String(answer.headers['x-seen']));
    assert.deepEqual([seen.te, seen.connection], ['trailers', 'te']);
    const early = await ask(session, { ':path': '/early' });
    assert.deepEqual(early.interims, [103]);
    const continued = { ':path': '/echo', ':method': 'POST', expect: '100-continue' };
    assert.equal((await ask(session, continued, Buffer.from('x'))).body.toString(), 'x');
    const bodiless = await ask(session, { ':path': '/', ':method': 'HEAD' });
    assert.deepEqual([bodiless.headers[':status'], bodiless.body.length], [200, 0]);
    const empty = await ask(session, { ':path': '/empty' });
    assert.deepEqual([empty.headers[':status'], empty.headers['content-length']], [204, undefined]);
  });
});

test('a reset by the client lets the endpoint go; a cut answer resets the stream', async () => {
  await withSession(async (session) => {
    await eventually('nothing at work', () => openRequests === 0);
    const stream = session.request({ ':path': '/never' });
    stream.on('error', () => {});
    await eventually('at work', () => openRequests === 1);
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await eventually('let go', () => openRequests === 0);
    await assert.rejects(ask(session, { ':path': '/cut' }), /NGHTTP2_INTERNAL_ERROR/);
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  });
});

test('an answer before the end of the body does not disturb the connection', async () => {
  await withSession(async (session) => {
    const head = { ':path': '/refuse', ':method': 'POST' };
    const answer = await ask(session, head, randomBytes(2_000_000));
    assert.equal(answer.headers[':status'], 403);
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  });
});

/** A masked text frame of a WebSocket client, and one of a server. */
function wsFrame(text: string, masked: boolean): Buffer {
  const body = Buffer.from(text);
  const mask = masked ? Buffer.alloc(4) : Buffer.alloc(0);
  return Buffer.concat([Buffer.from([0x81, body.length | (masked ? 0x80 : 0)]), mask, body]);
}

test('WebSocket over HTTP/2 becomes an upgrade at the endpoint', async () => {
  await withSession(async (session) => {
    await new Promise((resolve) => session.once('remoteSettings', resolve));
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/chat',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'chat',
    });
    const [headers] = await new Promise<[http2.IncomingHttpHeaders]>((resolve, reject) => {
      stream.once('response', (received) => resolve([received]));
      stream.once('error', reject);
    });
    assert.equal(headers[':status'], 200);
    assert.equal(headers['sec-websocket-protocol'], 'chat');
    assert.equal(headers['sec-websocket-accept'], undefined);
    let got = Buffer.alloc(0);
    stream.on('data', (data: Buffer) => {
      got = Buffer.concat([got, data]);
    });
    stream.write(wsFrame('hello', true));
    await eventually('the echo', () => got.equals(wsFrame('hello', false)));
    // A close frame ends both sides.
    stream.once('end', () => stream.end());
    stream.write(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
    await new Promise((resolve) => stream.once('close', resolve));
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  });
});

test('a WebSocket that the endpoint does not want is a plain answer', async () => {
  await withSession(async (session) => {
    await new Promise((resolve) => session.once('remoteSettings', resolve));
    const answer = await ask(session, {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/chat',
      'sec-websocket-version': '1',
    });
    assert.equal(answer.headers[':status'], 400);
  });
});

test('ALPN offers both; one that is not offered ends the handshake', { skip: noTls }, async () => {
  const negotiate = (port: number, ALPNProtocols: string[]) =>
    new Promise<string | false>((resolve) => {
      const socket = tls.connect({
        port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ALPNProtocols,
      });
      socket.once('secureConnect', () => {
        resolve(socket.alpnProtocol ?? false);
        socket.destroy();
      });
      socket.once('error', () => resolve('refused'));
    });
  assert.equal(await negotiate(secure, ['h2', 'http/1.1']), 'h2');
  assert.equal(await negotiate(secure, ['http/1.1', 'h2']), 'h2');
  assert.equal(await negotiate(secure, ['http/1.1']), 'http/1.1');
  assert.equal(await negotiate(secure, ['h3']), 'refused');
  assert.equal(await negotiate(h2only, ['h2']), 'h2');
  assert.equal(await negotiate(h2only, ['http/1.1']), 'refused');
});

test('ciphers that HTTP/2 forbids are refused with INADEQUATE_SECURITY', {
  skip: noTls,
}, async () => {
  const open = (ciphers: string, alpn: string) =>
    new Promise<tls.TLSSocket>((resolve, reject) => {
      const socket = tls.connect({
        ...{ port: secure, host: '127.0.0.1', rejectUnauthorized: false },
        ...{ ALPNProtocols: [alpn], maxVersion: 'TLSv1.2', ciphers },
      });
      socket.once('secureConnect', () => resolve(socket));
      socket.once('error', reject);
    });
  const weak = new RawHttp2(await open('ECDHE-ECDSA-AES128-SHA256', 'h2'));
  await weak.until('it ends', () => weak.closed);
  assert.equal(weak.goawayCode(), INADEQUATE_SECURITY);
  // The same cipher is good enough for HTTP/1, and a better one for HTTP/2.
  const old = await open('ECDHE-ECDSA-AES128-SHA256', 'http/1.1');
  const text = new Promise<string>((resolve) => old.once('data', (data) => resolve(String(data))));
  old.write('GET / HTTP/1.1\r\nhost: example.com\r\n\r\n');
  assert.match(await text, /^HTTP\/1\.1 200/);
  old.destroy();
  const strong = await open('ECDHE-ECDSA-AES128-GCM-SHA256', 'h2');
  const settings = new RawHttp2(strong);
  await settings.until('it is greeted', () => settings.count(TYPE.SETTINGS) > 0);
  assert.equal(settings.count(TYPE.GOAWAY), 0);
  strong.destroy();
});

test('a name that the certificate does not cover is 421', { skip: noTls }, async () => {
  const url = `https://127.0.0.1:${secure}`;
  await withSession(
    async (session) => {
      const status = async (authority: string) =>
        (await ask(session, { ':authority': authority, ':path': '/' })).headers[':status'];
      assert.equal(await status('example.com'), 200);
      assert.equal(await status(`www.example.com:${secure}`), 200);
      assert.equal(await status('other.test'), 421);
    },
    url,
    { servername: 'example.com' },
  );
  await withSession(async (session) => {
    assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
  }, url);
});

test('a listener may refuse HTTP/2 without TLS', async () => {
  const raw = await RawHttp2.open(nocleartext);
  await raw.until('the end', () => raw.closed);
  assert.equal(raw.count(TYPE.SETTINGS), 0);
});

test('limits on streams and on requests of a connection', async () => {
  const raw = await RawHttp2.open(few);
  raw.send(get(1, '/never'), get(3, '/never'), get(5));
  await raw.until('a refusal', () => raw.resetCode(5) === 7);
  await raw.until('a GOAWAY', () => raw.find(TYPE.GOAWAY) !== undefined);
  raw.close();
  await withSession(async (session) => {
    for (let turn = 0; turn < 3; turn++) {
      assert.equal((await ask(session, { ':path': '/' })).headers[':status'], 200);
    }
    await new Promise((resolve) => session.once('close', resolve));
  }, `http://127.0.0.1:${few}`);
});

function noCurl(): string | false {
  try {
    return execFileSync('curl', ['--version']).includes('HTTP2') ? false : 'curl has no HTTP/2';
  } catch {
    return 'needs curl';
  }
}

test('curl gets and sends over HTTP/2', { skip: noCurl() }, async () => {
  const url = `http://127.0.0.1:${plain}`;
  const form = ['-s', '-m', '8', '-w', '%{http_version} %{http_code}'];
  const got = await run('curl', [...form, '--http2-prior-knowledge', `${url}/`]);
  assert.equal(got.stdout, 'hello2 200');
  const sent = await run('curl', [...form, '--http2-prior-knowledge', '-d', 'abc', `${url}/echo`]);
  assert.equal(sent.stdout, 'abc2 200');
  if (noTls) return;
  const secured = await run('curl', [...form, '-k', `https://127.0.0.1:${secure}/`]);
  assert.equal(secured.stdout, 'hello2 200');
  const old = await run('curl', [...form, '-k', '--http1.1', `https://127.0.0.1:${secure}/`]);
  assert.equal(old.stdout, 'hello1.1 200');
});

test('a listener that goes finishes what has come, and says so in two steps', async () => {
  await eventually('nothing at work', () => openRequests === 0);
  const raw = await RawHttp2.open(plain);
  raw.send(get(1, '/never'));
  await eventually('at work', () => openRequests === 1);
  gateway?.write(`listeners:
  nocleartext: { bind: "127.0.0.1:${nocleartext}", protocol: http, service: app }
services: { app: { endpoints: ["127.0.0.1:${to}"] } }
`);
  gateway?.process.kill('SIGHUP');
  const last = () =>
    raw.frames
      .filter(({ type }) => type === TYPE.GOAWAY)
      .map(({ payload }) => payload.readUInt32BE(0));
  await raw.until('the first GOAWAY', () => last().length === 1);
  // What was sent before the first step was heard is still served; pings are answered.
  const ping = raw.find(TYPE.PING);
  raw.send(get(3));
  raw.send(Buffer.from([0, 0, 8, 6, 1, 0, 0, 0, 0]), ping?.payload ?? Buffer.alloc(8));
  await raw.until('the second', () => last().length === 2);
  assert.deepEqual(last(), [0x7fffffff, 3]);
  raw.send(get(5));
  await raw.until('a refusal', () => raw.resetCode(5) === 7);
  raw.close();
});
