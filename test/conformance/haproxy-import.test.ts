import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { evaluate } from '../../src/importers/haproxy/preprocessor.ts';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { DnsServer } from '../support/dns-server.ts';
import { eventually } from '../support/gateway.ts';
import { noHaproxy as skip } from '../support/haproxy.ts';
import {
  type Ask,
  ask,
  HaproxyLab,
  type Reply,
  sameAnswers,
  serveAll,
  servedBy,
  servedOnlyBy,
  spread,
} from '../support/haproxy-lab.ts';

const skipTls = skip || noCertificates();

/** Certificate and key of example.com in one file, as HAProxy has them. */
function makeSite(directory: string): string {
  makeCertificates(directory);
  const parts = ['example.com.pem', 'example.com.key'].map((one) => join(directory, one));
  const pem = parts.map((one) => readFileSync(one, 'utf8')).join('');
  writeFileSync(join(directory, 'site.pem'), pem);
  return pem;
}

test('conditions of the preprocessor are as HAProxy decides them', { skip }, () => {
  const env = { PATH: process.env['PATH'], SET: 'x' };
  for (const condition of [
    ...['0', '1', '10', '!1', '!!1', '1 && 0', '1 || 0 && 0', '(1 || 0) && 0', '!(0) && 1'],
    ...['defined(SET)', 'defined(UNSET)', '!defined(UNSET) && defined(SET)', '1 &&', '1 x', '(1'],
    ...['streq(a,a)', 'streq(a,b)', 'strneq(a,b)', 'nothing(a)', 'words', ''],
    ...['version_atleast(2.4)', 'version_atleast(99.0)', 'version_before(2.0)'],
    ...['version_before(99.1)', 'version_atleast(1)'],
  ]) {
    const { status } = spawnSync('haproxy', ['-cc', condition], { env });
    const verdict = evaluate(condition, (name) => name in env);
    assert.equal(verdict === true, status === 0, condition);
  }
});

test('RM-21 the example of the documentation: by turns, past a server that ends', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'seed-haproxy.cfg');
  const echoes = await serveAll(t, lab, [9001, 9002, 9003]);
  const one = { port: 8080, path: '/a?b=c' };
  await servedOnlyBy(lab, one, ['9001', '9002', '9003']);
  const shares = { '9001': 3, '9002': 3, '9003': 3 };
  assert.deepEqual(await spread(lab, one, 9), { haproxy: shares, sluice: shares });
  const table = await lab.both({ port: 8080, path: '/haproxy?stats;csv' });
  const objects = ({ body }: Reply) => body.split('\n').map((row) => row.split(',', 2).join(' '));
  assert.deepEqual(objects(table.sluice).sort(), objects(table.haproxy).sort());
  const page = await lab.both({ port: 8080, path: '/haproxy?stats' });
  for (const { status, body } of [page.haproxy, page.sluice]) {
    assert.equal(status, 200);
    assert.match(body, /http_back[\s\S]*node3/);
  }
  await echoes.get(9002)?.stop();
  await servedOnlyBy(lab, one, ['9001', '9003']);
  await echoes.get(9001)?.stop();
  await servedOnlyBy(lab, one, ['9003']);
  const headers = { 'x-a_b': 'c', cookie: 'd=e', 'x-forwarded-for': '192.0.2.1' };
  await sameAnswers(lab, [
    { ...one, headers },
    { port: 8080, path: '/status/503' },
    { port: 8080, path: '/a%2Fb//c?d=%20', method: 'DELETE' },
  ]);
  await echoes.get(9003)?.stop();
  await servedOnlyBy(lab, one, ['status 503']);
});

test('a web site: redirects to TLS, fields both ways, checks by a path', {
  skip: skipTls,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'web-tls.cfg', { prepare: makeSite });
  await serveAll(t, lab, [9001]);
  const tls = { port: 8443, serverName: 'www.example.com' };
  await servedOnlyBy(lab, tls, ['9001']);
  await sameAnswers(lab, [
    { port: 8080, path: '/a?b=c' },
    { port: 8080, path: '/', host: 'example.com:8080' },
    tls,
    { ...tls, path: '/x', headers: { proxy: 'evil', 'x-forwarded-proto': 'http' } },
    { ...tls, headers: { 'x-forwarded-port': '1', 'x-real-ip': '192.0.2.7' } },
    { ...tls, path: '/status/500' },
  ]);
});

test('an edge: hosts, paths, methods, fields, redirects and rewrites', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'api-gateway.cfg');
  await serveAll(t, lab, [9001, 9002, 9003, 9004, 9005, 9006, 9007]);
  const at = (path: string, more: Partial<Ask> = {}): Ask => ({ port: 8080, path, ...more });
  const shop = { host: 'shop.example.com' };
  await sameAnswers(lab, [
    ...['/admin', '/Admin/x', '/.git', '/.env/x', '/old', '/older', '/old/x', '/ping'].map((one) =>
      at(one),
    ),
    ...[at('/x?y=1', shop), at('/api/x', shop), at('/', shop), at('/')],
    ...['/api/', '/api/a/b?c=d', '/v2/x', '/a.css', '/a.css/x'].map((one) => at(one)),
    at('/api/x', { method: 'POST' }),
    at('/x', { host: 'beta.example.org' }),
    at('/x', { host: 'beta.example.org:8080' }),
    at('/x.js', { headers: { cookie: 'a=b; beta=' } }),
    at('/x.js', { headers: { 'x-canary': 'YES' } }),
    at('/x.js', { headers: { 'x-canary': 'no, true' } }),
    at('/x.js', { headers: { 'x-canary': 'truer' } }),
    at('/x.js', { host: 'other.test', headers: { 'x-canary': 'yes' } }),
    at('/a.png?debug=1', { headers: { 'x-via': 'before' } }),
    at('/a.png?debug=0&x=debug=1'),
  ]);
  const { haproxy, sluice } = await lab.both(at('/ping'));
  assert.deepEqual([sluice.body, sluice.headers['content-type']], ['pong', 'text/plain']);
  assert.equal(haproxy.body, sluice.body);
});

test('sessions stay on their server by a cookie, and move when it ends', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'sticky-app.cfg');
  const echoes = await serveAll(t, lab, [9001, 9002, 9003]);
  await servedOnlyBy(lab, { port: 8080 }, ['9001', '9002']);
  const first = await lab.both({ port: 8080 });
  const cookies = (reply: Reply) =>
    reply.headers['set-cookie']?.map((one) => one.split(';')[0] ?? '');
  const [theirs = '', ours = ''] = [cookies(first.haproxy)?.[0], cookies(first.sluice)?.[0]];
  assert.match(theirs, /^SERVERID=/);
  assert.match(ours, /^SERVERID=/);
  const again = async () => {
    const haproxy = (await lab.both({ port: 8080, headers: { cookie: `a=b; ${theirs}` } })).haproxy;
    const sluice = (await lab.both({ port: 8080, headers: { cookie: `a=b; ${ours}` } })).sluice;
    return { haproxy, sluice };
  };
  for (let asked = 0; asked < 4; asked++) {
    const { haproxy, sluice } = await again();
    assert.equal(servedBy(haproxy), servedBy(first.haproxy));
    assert.equal(servedBy(sluice), servedBy(first.sluice));
    // The server is not told of the cookie, and nobody is given it twice.
    for (const { body, headers } of [haproxy, sluice]) {
      assert.match(body, /"cookie":"a=b"/);
      assert.equal(headers['set-cookie'], undefined);
    }
  }
  for (const port of [9001, 9002]) await echoes.get(port)?.stop();
  await servedOnlyBy(lab, { port: 8080 }, ['9003']);
  const moved = await again();
  assert.deepEqual([servedBy(moved.haproxy), servedBy(moved.sluice)], ['9003', '9003']);
  assert.match(cookies(moved.sluice)?.[0] ?? '', /^SERVERID=/);
});

test('TCP: a spare behind a primary, clients by address, and who may not come in', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'tcp-services.cfg');
  const echoes = await serveAll(t, lab, [9001, 9002, 9003, 9004]);
  await servedOnlyBy(lab, { port: 8001 }, ['9001']);
  await echoes.get(9001)?.stop();
  await servedOnlyBy(lab, { port: 8001 }, ['9002']);
  await lab.serve(t, 9001);
  await servedOnlyBy(lab, { port: 8001 }, ['9001']);
  const { haproxy, sluice } = await spread(lab, { port: 8002 }, 6);
  assert.deepEqual([Object.values(haproxy), Object.values(sluice)], [[6], [6]]);
  await sameAnswers(lab, [{ port: 8003 }, { port: 8001, path: '/status/404' }]);
});

test('TLS goes through by the name in its ClientHello', { skip: skipTls }, async (t) => {
  let pem = '';
  const prepare = (directory: string) => {
    pem = makeSite(directory);
  };
  const lab = await HaproxyLab.start(t, 'sni-passthrough.cfg', { prepare });
  await serveAll(t, lab, [9443, 9444], { pem });
  const names = ['a.test', 'A.TEST', 'x.b.test', 'x.y.b.test', 'other.test'];
  const served: string[] = [];
  for (const serverName of names) {
    const { haproxy, sluice } = await lab.both({ port: 8443, serverName });
    assert.equal(servedBy(sluice), servedBy(haproxy), serverName);
    served.push(servedBy(sluice));
  }
  assert.deepEqual(served, ['9443', '9443', '9444', '9444', '9443']);
});

test("a swarm's tasks are found by name", { skip }, async (t) => {
  const dns = new DnsServer();
  await dns.start();
  t.after(() => dns.close());
  const named = (...addresses: string[]) =>
    addresses.map((data) => ({ type: 'A' as const, name: 'tasks.web', ttl: 1, data }));
  dns.records = named('127.0.0.2', '127.0.0.3');
  const lab = await HaproxyLab.start(t, 'swarm.cfg', { servers: new Map([[5353, dns.port]]) });
  for (const host of ['127.0.0.2', '127.0.0.3', '127.0.0.4']) {
    await lab.serveAt(t, host, 9001, host);
  }
  const one = { port: 8080 };
  await servedOnlyBy(lab, one, ['127.0.0.2', '127.0.0.3']);
  dns.records = named('127.0.0.3', '127.0.0.4');
  await servedOnlyBy(lab, one, ['127.0.0.3', '127.0.0.4']);
});

test('hosts by a map; settings by name and from the environment', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'maps.cfg');
  await serveAll(t, lab, [9001, 9002]);
  const hosts = ['one.test', 'ONE.test', 'www.one.test', 'two.test', 'three.test', 'xone.test'];
  await sameAnswers(
    lab,
    hosts.map((host) => ({ port: 8080, host })),
  );
  const { haproxy, sluice } = await lab.both({ port: 8080, host: 'three.test' });
  assert.deepEqual([haproxy.status, haproxy.body], [sluice.status, sluice.body]);
});

test('passwords, and a limit of requests', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'auth-limits.cfg');
  await serveAll(t, lab, [9001]);
  const limited = { port: 8080, path: '/limited' };
  await sameAnswers(
    lab,
    Array.from({ length: 7 }, () => limited),
  );
  const basic = (user: string) => `Basic ${Buffer.from(user).toString('base64')}`;
  const staff = (headers = {}) => ({ port: 8080, path: '/staff/x', headers });
  await sameAnswers(lab, [
    staff(),
    staff({ authorization: basic('anna:secret') }),
    staff({ authorization: basic('anna:wrong') }),
    staff({ authorization: basic('bert:two words') }),
    { port: 8080, path: '/open' },
  ]);
  const { haproxy, sluice } = await lab.both(staff());
  const asked = (reply: Reply) => /realm="Staff"/.test(reply.headers['www-authenticate'] ?? '');
  assert.deepEqual([asked(haproxy), asked(sluice)], [true, true]);
});

test('pages of errors, an answer for monitors, a site without servers', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'errors.cfg');
  await serveAll(t, lab, [9001]);
  const all = [
    { port: 8080, path: '/haproxy-health' },
    { port: 8080, host: 'shut.test' },
    { port: 8080, path: '/slow' },
    { port: 8080, path: '/status/503' },
  ];
  await sameAnswers(lab, all);
  await servedOnlyBy(lab, { port: 8080, path: '/down' }, ['status 503']);
  for (const one of [...all, { port: 8080, path: '/down' }]) {
    const { haproxy, sluice } = await lab.both(one);
    const said = ({ body, headers }: Reply) => [body, headers['content-type']];
    if (!haproxy.body.startsWith('{'))
      assert.deepEqual(said(sluice), said(haproxy), JSON.stringify(one));
  }
});

test('the API servers of Kubernetes: TCP, asked for their health over TLS', {
  skip: skipTls,
}, async (t) => {
  let pem = '';
  const prepare = (directory: string) => {
    pem = makeSite(directory);
  };
  const lab = await HaproxyLab.start(t, 'kube-api.cfg', { prepare });
  const echoes = await serveAll(t, lab, [9443, 9444], { pem });
  const one = { port: 8443, serverName: 'kubernetes' };
  await servedOnlyBy(lab, one, ['9443', '9444']);
  await echoes.get(9443)?.stop();
  await servedOnlyBy(lab, one, ['9444']);
});

/** What a server on `port` of a connection gets first. */
function firstBytes(t: TestContext, port: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (data: Buffer) => {
        resolve(data);
        socket.destroy();
        server.close();
      });
    });
    server.listen(port, '127.0.0.1');
    t.after(() => server.close());
  });
}

/** The status of a request behind a PROXY header. */
function proxied(port: number, source: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('error', () => resolve('error'));
    socket.on('close', () => {
      const told = /"x-forwarded-for":"[^"]*"/.exec(text)?.[0] ?? '';
      resolve(`${text.slice(9, 12)} ${told}`);
    });
    socket.write(`PROXY TCP4 ${source} 127.0.0.1 4711 80\r\n`);
    socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  });
}

test('a file runs as it is, is reloaded, and says where it is wrong', async (t) => {
  const lab = await HaproxyLab.start(t, 'seed-haproxy.cfg', { alone: true });
  await serveAll(t, lab, [9001, 9002, 9003]);
  const one = { port: 8080 };
  const served = async () => servedBy(await ask(lab.sides.sluice.get(8080) ?? 0, one));
  await eventually('all servers serve', async () => {
    const names = [await served(), await served(), await served()];
    return names.sort().join() === '9001,9002,9003';
  });
  const text = readFileSync(lab.file, 'utf8');
  writeFileSync(lab.file, text.replace(/^ *server node[12].*$/gm, ''));
  const reload = () => lab.gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal((await reload()).status, 200);
  for (let asked = 0; asked < 4; asked++) assert.equal(await served(), '9003');
  writeFileSync(lab.file, text.replace('balance', 'ballance'));
  const refused = await reload();
  assert.equal(refused.status, 400);
  assert.match(refused.text, /seed-haproxy\.cfg:19:1: ballance roundrobin: is no keyword/);
  assert.equal(await served(), '9003');
});

test('a chain: PROXY headers are taken and sent', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'chained.cfg');
  await serveAll(t, lab, [9001]);
  const asked: string[][] = [];
  for (const source of ['192.0.2.1', '203.0.113.7']) {
    const ports = [lab.sides.haproxy, lab.sides.sluice].map((side) => side.get(8080) ?? 0);
    asked.push(await Promise.all(ports.map((port) => proxied(port, source))));
  }
  assert.deepEqual(asked, [
    Array(2).fill('200 "x-forwarded-for":"192.0.2.1"'),
    Array(2).fill('403 '),
  ]);
  const heads: string[] = [];
  const port = lab.servers.get(9002) ?? 0;
  for (const side of [lab.sides.haproxy, lab.sides.sluice]) {
    const bytes = firstBytes(t, port);
    const socket = net.connect(side.get(8081) ?? 0, '127.0.0.1', () => socket.write('x'));
    socket.on('error', () => {});
    // Signature, version and command, family; then both addresses: HAProxy adds a checksum.
    const head = await bytes;
    heads.push(Buffer.concat([head.subarray(0, 14), head.subarray(16, 24)]).toString('hex'));
    socket.destroy();
  }
  assert.equal(heads[0], heads[1]);
});
