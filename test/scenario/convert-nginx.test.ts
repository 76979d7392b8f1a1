import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { nginxMissing } from '../support/nginx.ts';
import {
  type Asked,
  EchoBackend,
  type Ports,
  type Seen,
  SideBySide,
} from '../support/side-by-side.ts';

const backends = ['one', 'two', 'three'].map((name) => new EchoBackend(name));
let ports: Ports = new Map();

before(async () => {
  for (const backend of backends) await backend.start();
  ports = new Map(backends.map(({ port }, index) => [9001 + index, port]));
});

after(() => {
  for (const backend of backends) backend.stop();
});

/** What a client can tell of an answer, without the pages of errors, which are everybody's own. */
function told({ status, location, text, headers }: Seen, pages = false): unknown {
  const echo = text.startsWith('{"name"') ? JSON.parse(text) : undefined;
  const shown = echo ?? (status < 300 || status === 418 || pages ? text : undefined);
  return { status, location, shown, probe: headers['x-probe'] };
}

function sides(
  fixture: string,
  listens: readonly number[] = [8080],
  prepare?: (directory: string) => void,
) {
  let both: SideBySide | undefined;
  before(async () => {
    both = await SideBySide.start(fixture, listens, ports, prepare);
  });
  after(() => both?.stop());
  const side = () => both as SideBySide;
  const same = async (asked: Asked, wanted?: { status?: number; shown?: unknown }) => {
    const { nginx, sluice } = await side().ask(asked);
    assert.deepEqual(told(sluice), told(nginx), `${asked.method ?? 'GET'} ${asked.path}`);
    if (wanted?.status !== undefined) assert.equal(nginx.status, wanted.status, asked.path);
    return nginx;
  };
  return { side, same };
}

const skip = nginxMissing;

describe('reverse-proxy.conf: paths, fields, sizes and upgrades', { skip }, () => {
  const { side, same } = sides('reverse-proxy.conf');

  test('nothing is left out', () => {
    assert.deepEqual(side().result.report.unsupported, []);
  });

  test('paths reach backends as nginx sends them', async () => {
    for (const path of [
      '/',
      '/a/b?c=d&e',
      '/api/',
      '/api/x/y?z=1',
      '/raw/x?y',
      '/bare/x',
      '/bare/',
    ]) {
      await same({ path }, { status: 200 });
    }
    for (const path of ['/flat', '/flat/x', '/flatter', '/exact', '/exact/not', '/apiary']) {
      await same({ path, headers: { host: 'app.example.com' } }, { status: 200 });
    }
  });

  test('a prefix without its slash is redirected, with its query', async () => {
    await same({ path: '/api' }, { status: 301 });
    await same({ path: '/raw?x=y', headers: { host: 'app.example.com' } }, { status: 301 });
  });

  test('fields, also those of a location that has its own', async () => {
    const headers = {
      host: 'app.example.com:81',
      'x-any': 'b',
      'accept-encoding': 'gzip',
      'x-forwarded-for': '192.0.2.1',
    };
    for (const path of ['/x?y', '/own-name/x', '/upload', '/ws/plain'])
      await same({ path, headers });
  });

  test('answers without a backend', async () => {
    await same({ path: '/healthz' }, { status: 200 });
    await same({ path: '/old/x?a=b' }, { status: 301 });
    await same({ path: '/old/x' }, { status: 301 });
    await same({ path: '/gone' }, { status: 410 });
  });

  test('bodies are bounded for each location', async () => {
    const post = (path: string, size: number) =>
      same({ path, method: 'POST', body: 'x'.repeat(size) });
    assert.equal((await post('/x', 2048)).status, 200);
    assert.equal((await post('/x', 2049)).status, 413);
    assert.equal((await post('/upload', 8192)).status, 200);
    assert.equal((await post('/upload', 8193)).status, 413);
  });

  test('a WebSocket passes', async () => {
    for (const which of ['nginx', 'sluice'] as const) {
      const socket = new WebSocket(`ws://127.0.0.1:${side().port(which, 8080)}/ws/x`);
      const answer = new Promise((resolve, reject) => {
        socket.on('message', (data) => resolve(String(data)));
        socket.on('error', reject);
      });
      socket.on('open', () => socket.send('hello'));
      assert.equal(await answer, 'one: hello', which);
      socket.close();
    }
  });
});

describe('virtual-hosts.conf: the server for a name', { skip }, () => {
  const { same } = sides('virtual-hosts.conf');

  test('exact names, patterns, expressions and the default', async () => {
    const names = [
      'example.com',
      'www.example.com',
      'WWW.EXAMPLE.COM:80',
      'a.example.com',
      'a.b.example.com',
    ];
    names.push('deep.example.com', 'x.deep.example.com', 'mail.example.com', 'mail.other.test');
    names.push(
      'bob-shop.test',
      'bob2-shop.test',
      'plain.test',
      'moved.test',
      'nobody.test',
      '127.0.0.1',
    );
    for (const host of names) {
      // Without a location nginx looks for files.
      const paths = host === 'plain.test' ? ['/a/x'] : ['/', '/only/x', '/a/x', '/a?b'];
      for (const path of paths) await same({ path, headers: { host } });
    }
  });
});

describe('locations.conf: the location for a path', { skip }, () => {
  const { same } = sides('locations.conf');

  test('every kind, in the order of nginx', async () => {
    const paths = [
      '/',
      '/x',
      '/images',
      '/images/',
      '/images/x.gif',
      '/images/raw/x.gif',
      '/images/raw/x',
    ];
    paths.push(
      '/imagesx',
      '/x.gif',
      '/x.jpg',
      '/x.GIF',
      '/x.php',
      '/x.PhP',
      '/x.phps',
      '/user/1',
      '/user/x',
    );
    paths.push(
      '/user/1/2',
      '/doc',
      '/docs',
      '/documents',
      '/documents/',
      '/documents/1.jpg',
      '/documents/2',
    );
    paths.push(
      '/nested/',
      '/nested/x',
      '/nested/x.txt',
      '/nested/inner/',
      '/nested/inner/x',
      '/nested/inner/x.txt',
    );
    paths.push(
      '/with%20space',
      '/with%20space/x',
      '/qq',
      '/qqq',
      '//',
      '/a/../doc',
      '/%64oc',
      '/./x.gif',
    );
    for (const path of paths) await same({ path });
  });
});

describe('rewrites.conf: redirects, rewrites, conditions and maps', { skip }, () => {
  const { side, same } = sides('rewrites.conf');

  test('nothing is left out', () => {
    assert.deepEqual(side().result.report.unsupported, []);
  });

  test('redirects by expression keep or drop the query', async () => {
    for (const path of [
      '/blog/12/a/b?c=d',
      '/blog/12/',
      '/blog/x/y',
      '/find?q=1',
      '/findx',
      '/drop/a?b=c',
    ]) {
      await same({ path });
    }
  });

  test('conditions of a server', async () => {
    await same({ path: '/x?y', headers: { host: 'old.example.com' } }, { status: 301 });
    await same({ path: '/Index.PHP?a=b' }, { status: 410 });
    await same({ path: '/1.php' }, { status: 200 });
    for (const agent of ['Mozilla', 'A Crawler/1', 'curl/bad', 'CURL/BAD', 'curl/good']) {
      await same({ path: '/x', headers: { 'user-agent': agent } });
    }
    await same(
      { path: '/x', headers: { 'x-forwarded-proto': 'http', host: 'a.test' } },
      { status: 307 },
    );
  });

  test('conditions of a location', async () => {
    for (const method of ['GET', 'POST', 'PUT']) await same({ path: '/post-only', method });
    await same({ path: '/beta', headers: { cookie: 'beta=1' } }, { status: 302 });
    await same({ path: '/beta', headers: { cookie: 'beta=2' } }, { status: 200 });
    await same({ path: '/beta?debug=1' }, { status: 418 });
    await same({ path: '/beta?debug=' }, { status: 200 });
    await same({ path: '/scheme' }, { status: 302 });
  });

  test('paths are rewritten', async () => {
    for (const path of ['/strip/a/b?c', '/strip/', '/v12/items/a/b', '/v1/items/', '/vx/items/a']) {
      await same({ path });
    }
  });

  test('a map chooses the backend', async () => {
    for (const tier of ['gold', 'Gold', 'silver', 'silt', 'tin', '']) {
      await same({ path: '/tier/x', headers: { 'x-tier': tier } }, { status: 200 });
    }
  });
});

describe('access.conf: who may come in, and error pages', { skip }, () => {
  const { side } = sides('access.conf');
  const same = async (asked: Asked, wanted: number) => {
    const { nginx, sluice } = await side().ask(asked);
    assert.deepEqual(told(sluice, wanted === 403), told(nginx, wanted === 403), asked.path);
    assert.equal(nginx.status, wanted, asked.path);
  };
  const basic = (text: string) => ({
    authorization: `Basic ${Buffer.from(text).toString('base64')}`,
  });

  test('addresses, passwords, methods', async () => {
    await same({ path: '/x' }, 200);
    await same({ path: '/closed' }, 403);
    await same({ path: '/inside' }, 200);
    await same({ path: '/others' }, 403);
    await same({ path: '/private' }, 401);
    await same({ path: '/private', headers: basic('ann:wrong') }, 401);
    await same({ path: '/private', headers: basic('ann:secret') }, 200);
    await same({ path: '/read', method: 'POST' }, 403);
    await same({ path: '/read' }, 200);
    await same({ path: '/read', method: 'HEAD' }, 200);
    await same({ path: '/hidden' }, 404);
    await same({ path: '/50x.html' }, 404);
    await same({ path: '/403.html' }, 200);
  });

  test('a backend that is away shows the page', async () => {
    // Where nobody lives, Sluice says that it may be tried again.
    const { nginx, sluice } = await side().ask({ path: '/dead' });
    assert.deepEqual([nginx.status, sluice.text], [502, nginx.text]);
    assert.ok([502, 503].includes(sluice.status), String(sluice.status));
  });

  test('the rate is limited', async () => {
    for (const wanted of [200, 200, 200, 429, 429]) await same({ path: '/login' }, wanted);
  });
});

describe('balancing.conf: servers, stickiness and failover', { skip }, () => {
  const { side, same } = sides('balancing.conf');
  const names = async (path: string, headers = {}, count = 24) => {
    const counts = { nginx: new Map<string, number>(), sluice: new Map<string, number>() };
    for (let turn = 0; turn < count; turn++) {
      const answers = await side().ask({ path, headers });
      for (const which of ['nginx', 'sluice'] as const) {
        const name = String(answers[which].headers['x-backend'] ?? answers[which].status);
        counts[which].set(name, (counts[which].get(name) ?? 0) + 1);
      }
    }
    return counts;
  };

  test('weights', async () => {
    const { nginx, sluice } = await names('/weighted/');
    assert.deepEqual([...nginx].sort(), [
      ['one', 18],
      ['two', 6],
    ]);
    assert.deepEqual([...sluice].sort(), [...nginx].sort());
  });

  test('all servers get their share', async () => {
    for (const path of ['/least/', '/chance/']) {
      const { nginx, sluice } = await names(path, {}, 40);
      assert.deepEqual([...sluice.keys()].sort(), [...nginx.keys()].sort(), path);
    }
  });

  test('who comes again gets the same server, others may get another', async () => {
    for (const which of ['nginx', 'sluice'] as const) {
      assert.equal((await names('/by-client/', {}, 10))[which].size, 1, 'by client');
      const users = new Set<string>();
      for (let user = 0; user < 20; user++) {
        const own = (await names('/by-field/', { 'x-user': `u${user}` }, 3))[which];
        assert.equal(own.size, 1, 'by field');
        for (const name of own.keys()) users.add(name);
        const session = (await names('/by-cookie/', { cookie: `session=s${user}` }, 2))[which];
        assert.equal(session.size, 1, 'by cookie');
      }
      assert.equal(users.size, 3, which);
    }
  });

  test('a server that is away costs no request; a backup stands in; one that is down is not asked', async () => {
    for (const path of ['/half-dead/', '/spare/', '/half-down/']) {
      const { nginx, sluice } = await names(path);
      assert.deepEqual([...sluice], [...nginx], path);
    }
  });

  test('another try after 503, but none with off', async () => {
    const [one] = backends;
    assert.ok(one);
    one.status = 503;
    for (let turn = 0; turn < 6; turn++) await same({ path: '/failing/' }, { status: 200 });
    const { nginx, sluice } = await names('/no-retry/', {}, 6);
    for (const counts of [nginx, sluice]) assert.ok(counts.has('one') && counts.has('two'));
    one.status = 200;
  });

  test('errors have the codes of nginx', async () => {
    const { nginx, sluice } = await side().ask({ path: '/dead' });
    assert.deepEqual([nginx.status, sluice.status === 502 || sluice.status === 503], [502, true]);
    await same({ path: '/slow?hang' }, { status: 504 });
  });
});
