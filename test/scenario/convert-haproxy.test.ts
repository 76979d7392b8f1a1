import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { eventually } from '../support/gateway.ts';
import { noHaproxy as skip } from '../support/haproxy.ts';
import {
  type Ask,
  HaproxyLab,
  type Reply,
  sameAnswers,
  serveAll,
  servedBy,
  servedOnlyBy,
} from '../support/haproxy-lab.ts';

const at = (path: string, more: Partial<Ask> = {}): Ask => ({ port: 8080, path, ...more });

/** Own answers, which `sameAnswers` leaves to each: body, type and status. */
async function sameBodies(lab: HaproxyLab, asks: readonly Ask[]): Promise<void> {
  for (const one of asks) {
    const { haproxy, sluice } = await lab.both(one);
    const told = ({ status, body, headers }: Reply) => [status, body, headers['content-type']];
    assert.deepEqual(told(sluice), told(haproxy), JSON.stringify(one));
  }
}

test('a site whose servers are away: counted, told to monitors, another one in their place', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'resilience.cfg');
  const echoes = await serveAll(t, lab, [9001, 9002, 9003]);
  await servedOnlyBy(lab, at('/'), ['9001', '9002']);
  await sameAnswers(lab, [at('/alive')]);
  await echoes.get(9001)?.stop();
  // A retry hides the server that is gone until a check has found it down: then both tell the one
  // that is left that the site is weak.
  await eventually('both are weak', async () => {
    const { haproxy, sluice } = await lab.both(at('/x'));
    return [haproxy, sluice].every(({ body }) => body.includes('"x-mode":"weak"'));
  });
  await servedOnlyBy(lab, at('/'), ['9002']);
  await sameAnswers(lab, [at('/x'), at('/alive')]);
  await echoes.get(9002)?.stop();
  await servedOnlyBy(lab, at('/'), ['9003']);
  await sameAnswers(lab, [at('/any?a=b'), at('/alive'), at('/cart/1')]);
  await sameBodies(lab, [at('/cart/1')]);
  assert.equal((await lab.both(at('/alive'))).sluice.status, 503);
  await lab.serve(t, 9001);
  await servedOnlyBy(lab, at('/'), ['9001']);
  await sameAnswers(lab, [at('/alive'), at('/cart/1')]);
});

test('answers are mended by status and expression; requests tell what variables hold', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'answers.cfg');
  const [echo] = (await serveAll(t, lab, [9001])).values();
  assert.ok(echo);
  await servedOnlyBy(lab, at('/'), ['9001']);
  echo.fields = {
    location: 'http://inner.test:81/a?b=c',
    'set-cookie': ['a=1; Path=/inner; Secure', 'b=2; Path=/'],
  };
  const identified: Reply[] = [];
  const same = async (one: Ask) => {
    const { haproxy, sluice } = await lab.both(one);
    identified.push(haproxy, sluice);
    // The identifiers themselves differ from one request to the next.
    const hidden = ({ body, ...rest }: Reply): Reply => ({
      ...rest,
      body: body.replace(/"x-request-id":"\w[^"]*"/, '"x-request-id":""'),
    });
    const told = (reply: Reply) => {
      const {
        date,
        connection,
        'keep-alive': _,
        'transfer-encoding': _2,
        'content-length': _3,
        ...fields
      } = reply.headers;
      const text = hidden(reply).body;
      return [reply.status, fields, text.startsWith('{"name') ? sorted(text) : text];
    };
    assert.deepEqual(told(sluice), told(haproxy), JSON.stringify(one));
  };
  for (const status of [200, 201, 301, 404, 500, 503]) await same(at(`/status/${status}`));
  await same(at('/admin/x'));
  await same(at('/unversioned/x?y=z'));
  await same(at('/echo/x?y'));
  await same(at('/teapot'));
  const headers = {
    'x-plan': 'golden',
    'x-tenant': 'acme',
    cookie: 'a=b; sid=7',
    'user-agent': 'A Bot/12 x',
    'x-client-address': '192.0.2.1',
  };
  await same(at('/x?page=3&q', { headers }));
  await same(at('/x?page=', { headers: { 'x-plan': 'silver', 'user-agent': 'curl' } }));
  const ids = identified.flatMap(({ body }) => /"x-request-id":"(\w[^"]*)"/.exec(body)?.[1] ?? []);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.length >= 18);
});

/** A request as a server was told of it, with its fields in order. */
function sorted(text: string): unknown {
  const told = JSON.parse(text) as { headers: Record<string, string> };
  const { connection, host = '', ...fields } = told.headers;
  return { ...told, headers: { host, ...fields } };
}

test('pages that have moved by a map; backends by variables, maps and their own names', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'moves.cfg');
  await serveAll(t, lab, [9001, 9002, 9003, 9004]);
  await servedOnlyBy(lab, at('/'), ['9001']);
  await sameAnswers(lab, [
    ...['/old-home', '/old-home/', '/products/12', '/Case', '/case', '/gone-to?x=y'].map((one) =>
      at(one),
    ),
    ...['/docs', '/docs/x?y', '/docs/api/z', '/docsapi', '/intl', '/intl/x?y=z'].map((one) =>
      at(one),
    ),
    ...['one.test', 'TWO.test', 'none.test'].map((host) => at('/tenant', { host })),
    ...['green', 'blue', ''].map((color) =>
      at('/color', { headers: { cookie: `color=${color}` } }),
    ),
    at('/color'),
    ...['green', 'BLUE', 'red', ''].map((pool) => at('/pool/x', { headers: { 'x-pool': pool } })),
    at('/pool'),
    at('/x', { host: 'two.test' }),
    at('/x', { host: 'one.test' }),
  ]);
});

test('who asks too much, too large or without a password', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'guarded.cfg');
  await serveAll(t, lab, [9001]);
  await servedOnlyBy(lab, at('/'), ['9001']);
  const login = Array.from({ length: 6 }, () => at('/login'));
  await sameAnswers(lab, login);
  assert.equal((await lab.both(at('/login'))).sluice.status, 403);
  const keyed = (key: string) => at('/api/x', { headers: { 'x-api-key': key } });
  await sameAnswers(lab, ['a', 'a', 'b', 'a', 'b', 'a', 'c'].map(keyed));
  await sameAnswers(lab, [
    at('/up', { method: 'POST', body: 'x'.repeat(20), headers: { 'content-length': '20' } }),
    at('/up', { method: 'POST', body: 'x'.repeat(21), headers: { 'content-length': '21' } }),
    at('/x', { headers: { 'user-agent': 'a SQLMap b' } }),
  ]);
  const as = (path: string, user: string) =>
    at(path, { headers: { authorization: `Basic ${Buffer.from(user).toString('base64')}` } });
  const users = ['anna:secret', 'anna:two', 'bert:two', 'carl:three', 'dora:x'];
  const paths = ['/admin', '/staff', '/all'];
  await sameAnswers(lab, [
    ...paths.map((path) => at(path)),
    ...paths.flatMap((path) => users.map((user) => as(path, user))),
  ]);
});

test('rules of HAProxy 1.5 do what their successors do', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'old-rules.cfg', { theirs: 'old-rules.modern.cfg' });
  await serveAll(t, lab, [9001, 9002]);
  await servedOnlyBy(lab, at('/'), ['9001', '9002']).catch(() => {});
  const names = (body: string) => body.replace(/"name":"\d+"/, '"name":""');
  for (const one of [
    at('/bad/x'),
    at('/api/x?id=1', { headers: { 'x-secret': 'a', 'accept-language': 'DE, fr' } }),
    at('/static/a/b?id=1&c'),
    at('/STATIC/a?id=1'),
    at('/v1/users/12?id=1'),
    at('/v1/Users/12?id=1'),
    at('/x?id=1', { headers: { 'accept-language': 'fr, de' } }),
  ]) {
    const { haproxy, sluice } = await lab.both(one);
    const told = ({ status, headers, body }: Reply) => [
      status,
      headers['strict-transport-security'],
      headers['x-powered-by'],
      body.startsWith('{') ? sorted(names(body)) : '',
    ];
    assert.deepEqual(told(sluice), told(haproxy), JSON.stringify(one));
  }
  // Who comes again with the same parameter comes to the same server.
  const seen = { haproxy: new Set<string>(), sluice: new Set<string>() };
  for (let id = 0; id < 20; id++) {
    const answers = await lab.both(at(`/x?a&id=${id}`));
    const again = await lab.both(at(`/y?id=${id}`));
    for (const side of ['haproxy', 'sluice'] as const) {
      assert.equal(servedBy(again[side]), servedBy(answers[side]));
      seen[side].add(servedBy(answers[side]));
    }
  }
  assert.deepEqual([seen.haproxy.size, seen.sluice.size], [2, 2]);
});

/** A Redis that says what it is; the name comes first. */
function redis(t: TestContext, port: number, role: () => string): net.Server {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      const text = data.toString();
      if (text.startsWith('PING')) socket.write('+PONG\r\n');
      else if (text.startsWith('info')) socket.write(`$9\r\nrole:${role()}\r\n`);
      else if (text.startsWith('QUIT')) socket.end('+OK\r\n');
      else socket.write(`${port}`);
    });
  });
  server.listen(port, '127.0.0.1');
  t.after(() => server.close());
  return server;
}

function who(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('who'));
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.on('error', () => resolve('error'));
    socket.on('close', () => resolve('closed'));
  });
}

test('Redis: only the master gets connections, whichever it is', { skip }, async (t) => {
  const lab = await HaproxyLab.start(t, 'redis.cfg');
  let master = 9001;
  const ports = [9001, 9002].map((name) => lab.servers.get(name) ?? 0);
  for (const [index, port] of ports.entries()) {
    redis(t, port, () => (master === 9001 + index ? 'master' : 'slave'));
  }
  const sides = [lab.sides.haproxy, lab.sides.sluice].map((side) => side.get(8379) ?? 0);
  const servedBoth = (name: number) =>
    eventually(`${name} is the master`, async () => {
      const answers: string[] = [];
      for (const side of sides) answers.push(await who(side), await who(side), await who(side));
      return answers.every((one) => one === String(lab.servers.get(name)));
    });
  await servedBoth(9001);
  master = 9002;
  await servedBoth(9002);
});

test('one port for TLS: by name, by who is alive, and nothing else', {
  skip: skip || noCertificates(),
}, async (t) => {
  let pem = '';
  const prepare = (directory: string) => {
    makeCertificates(directory);
    const parts = ['example.com.pem', 'example.com.key'].map((one) => join(directory, one));
    pem = parts.map((one) => readFileSync(one, 'utf8')).join('');
    writeFileSync(join(directory, 'site.pem'), pem);
  };
  const lab = await HaproxyLab.start(t, 'tls-edge.cfg', { prepare });
  const echoes = await serveAll(t, lab, [9443, 9444, 9445], { pem });
  const names = async (serverName: string) => {
    const { haproxy, sluice } = await lab.both({ port: 8443, serverName });
    return [servedBy(haproxy), servedBy(sluice)];
  };
  const becomes = (serverName: string, name: string) =>
    eventually(`${serverName} is served by ${name}`, async () =>
      (await names(serverName)).every((one) => one === name),
    );
  await becomes('web.test', '9443');
  await becomes('MAIL.test', '9444');
  await becomes('imap.test', '9444');
  const plain = await lab.both({ port: 8443 });
  assert.deepEqual([plain.haproxy.status, plain.sluice.status], [0, 0]);
  await echoes.get(9443)?.stop();
  await becomes('web.test', '9445');
  await becomes('mail.test', '9444');
});
