import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findImage } from '../../../src/control/container-order.ts';
import { inspectDistribution, isInsecure } from '../../../src/control/distribution/distribution.ts';
import { imageReference } from '../../../src/model/image-name.ts';
import type { ImageInfo } from '../../../src/model/task-spec.ts';
import { makeCertificates, noCertificates } from '../../support/certs.ts';

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const CONFIG = JSON.stringify({ os: 'linux', architecture: 'arm64', variant: 'v8' });
const IMAGE = JSON.stringify({
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  config: { digest: digestOf(CONFIG) },
});
const INDEX = JSON.stringify({
  manifests: [
    { platform: { os: 'linux', architecture: 'amd64' } },
    { platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
  ],
});
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';

/** A server on the loopback; its host and port. */
async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  // exempt(as): it listens on a port
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const ask = (name: string, login = '') => inspectDistribution(name, { login, insecure: true });

test('an image has the digest of its manifest, and the platform that its configuration says', async (t) => {
  const paths: string[] = [];
  const host = await serve(t, ({ url = '', headers }, response) => {
    paths.push(url);
    if (url.includes('/manifests/')) {
      assert.match(headers.accept ?? '', /oci\.image\.index/);
      response.end(IMAGE);
    } else if (url.includes('/blobs/')) {
      response.writeHead(307, { location: '/elsewhere' }).end();
    } else response.end(CONFIG);
  });
  assert.deepEqual(await ask(`${host}/team/app`), {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: digestOf(IMAGE),
    size: IMAGE.length,
    platforms: [{ os: 'linux', architecture: 'arm64', variant: 'v8' }],
  });
  assert.deepEqual(paths, [
    '/v2/team/app/manifests/latest',
    `/v2/team/app/blobs/${digestOf(CONFIG)}`,
    '/elsewhere',
  ]);
});

test('an index has several platforms; one that is not what its digest says is refused', async (t) => {
  const host = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-type': INDEX_TYPE }).end(INDEX);
  });
  const { digest, mediaType, platforms } = await ask(`${host}/app:1@${digestOf(INDEX)}`);
  assert.deepEqual([digest, mediaType], [digestOf(INDEX), INDEX_TYPE]);
  assert.deepEqual(
    platforms.map(({ architecture }) => architecture),
    ['amd64', 'arm64'],
  );
  await assert.rejects(ask(`${host}/app@${digestOf('else')}`), /the registry has sha256:.*, not/);
});

test('a token is asked for where the registry says, with the login that it is for', async (t) => {
  const asked: string[] = [];
  const tokens = await serve(t, ({ url = '', headers }, response) => {
    asked.push(`${url} ${headers.authorization ?? ''}`);
    if (headers.authorization === undefined) response.writeHead(401).end();
    else response.end(JSON.stringify({ token: 'abc' }));
  });
  const host = await serve(t, ({ headers }, response) => {
    if (headers.authorization === 'Bearer abc') {
      response.writeHead(200, { 'content-type': INDEX_TYPE }).end(INDEX);
      return;
    }
    const fields = `realm="http://${tokens}/token",service="lab",scope="repository:app:pull"`;
    response.writeHead(401, { 'www-authenticate': `Bearer ${fields}` });
    response.end(JSON.stringify({ errors: [{ message: 'authentication required' }] }));
  });
  assert.equal((await ask(`${host}/app`, 'me:secret')).digest, digestOf(INDEX));
  const basic = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  assert.deepEqual(asked, [`/token?service=lab&scope=repository%3Aapp%3Apull ${basic}`]);
  await assert.rejects(ask(`${host}/app`), {
    code: 'E_REQUEST_FORBIDDEN',
    message: /access to \S+ is denied: authentication required/,
  });
});

test('a login is shown to its registry alone', async (t) => {
  const seen: (string | undefined)[] = [];
  const other = await serve(t, ({ headers }, response) => {
    seen.push(headers.authorization);
    response.writeHead(200, { 'content-type': INDEX_TYPE }).end(INDEX);
  });
  const host = await serve(t, ({ url = '', headers }, response) => {
    if (headers.authorization === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="lab"' }).end();
    } else response.writeHead(302, { location: `http://${other}${url}` }).end();
  });
  await ask(`${host}/app`, 'me:secret');
  assert.deepEqual(seen, [undefined]);
});

test('what a registry does not have, and one that goes round in circles', async (t) => {
  const host = await serve(t, ({ url = '' }, response) => {
    if (url.includes('round')) response.writeHead(302, { location: url }).end();
    else if (url.includes('huge')) response.end(Buffer.alloc(5 * 1024 * 1024));
    else response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
  });
  await assert.rejects(ask(`${host}/app`), { code: 'E_OBJECT_NOT_FOUND', message: /UNKNOWN/ });
  await assert.rejects(ask(`${host}/round`), /sends from one place to another/);
  await assert.rejects(ask(`${host}/huge`), /is larger than 4194304 bytes/);
  const strict = inspectDistribution(`${host}/app`, { login: '', insecure: false });
  await assert.rejects(strict, { code: 'E_HOST_FAILED', message: /cannot be asked/ });
});

test('a certificate that nobody signed is refused, unless the registry is not to be checked', {
  skip: noCertificates(),
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-registry-'));
  t.after(() => rmSync(folder, { recursive: true }));
  makeCertificates(folder);
  const [cert, key] = ['pem', 'key'].map((end) => readFileSync(join(folder, `example.com.${end}`)));
  const server = createTlsServer({ cert, key }, (_, response) => {
    response.writeHead(200, { 'content-type': INDEX_TYPE }).end(INDEX);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  // exempt(as): it listens on a port
  const name = `127.0.0.1:${(server.address() as AddressInfo).port}/app`;
  assert.equal((await ask(name)).digest, digestOf(INDEX));
  const strict = inspectDistribution(name, { login: '', insecure: false });
  await assert.rejects(strict, /cannot be asked: self-signed certificate/);
});

test('names lead to registries, tags and digests', () => {
  const of = (name: string) => {
    const { registry, repository, tag, digest } = imageReference(name);
    return [registry, repository, tag, digest].join(' ');
  };
  assert.equal(of('nginx'), 'docker.io library/nginx latest ');
  assert.equal(of('team/app:2'), 'docker.io team/app 2 ');
  assert.equal(of('localhost:5000/app'), 'localhost:5000 app latest ');
  assert.equal(of('r.example/a/b:1@sha256:ab'), 'r.example a/b 1 sha256:ab');
  assert.equal(of('r.example/a@sha256:ab'), 'r.example a  sha256:ab');
});

test('registries on this host and those of the list are not checked', () => {
  const list = ['r.example', 's.example:5000', '198.51.100.0/24'];
  const insecure = (registry: string) => isInsecure(registry, list);
  for (const one of [
    'localhost:5000',
    '127.0.0.9',
    '[::1]:5000',
    'r.example:80',
    '198.51.100.7:1',
  ]) {
    assert.ok(insecure(one), one);
  }
  for (const one of ['docker.io', 's.example', 'x.r.example', '192.0.2.1:5000']) {
    assert.ok(!insecure(one), one);
  }
});

test('an image is found by its digest whatever its tags are', () => {
  const image = (id: string, name: string, digest: string): ImageInfo => ({
    ...{ id: `sha256:${id.repeat(64)}`, names: [name], digests: [`app@sha256:${digest}`] },
    ...{ runtime: 'podman', created: '', sizeBytes: 0, entrypoint: [], command: [], env: [] },
    ...{ cwd: '', user: '', exposed: [], volumes: [], labels: {} },
    ...{ stopSignal: undefined, health: undefined },
  });
  const [old, now] = [image('a', 'app:0', 'one'), image('b', 'r.example:5000/app:latest', 'two')];
  const find = (key: string) => findImage([now, old], key);
  assert.equal(find('app:1@sha256:one'), old);
  assert.equal(find('app:0@sha256:two'), now);
  assert.equal(find('app:0@sha256:three'), undefined);
  assert.equal(find('r.example:5000/app'), now);
});
