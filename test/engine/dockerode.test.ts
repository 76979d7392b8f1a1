import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import Docker from 'dockerode';
import { serveEngine } from '../support/engine.ts';

async function client(t: { after(task: () => void): void }) {
  const { path, agent, engine, call } = await serveEngine(t);
  return { docker: new Docker({ socketPath: path }), agent, engine, call };
}

async function read(stream: NodeJS.ReadableStream): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString();
}

test('networks', async (t) => {
  const { docker } = await client(t);
  const made = await docker.createNetwork({ Name: 'aa', Labels: { tier: 'front' } });
  const found = await docker.listNetworks({ filters: { label: ['tier=front'] } });
  assert.deepEqual(
    found.map(({ Name }) => Name),
    ['aa'],
  );
  assert.equal((await made.inspect()).Driver, 'bridge');
  await assert.rejects(
    docker.listNetworks({ filters: { colour: ['x'] } }),
    /invalid filter 'colour'/,
  );
  await assert.rejects(docker.createNetwork({ Name: 'aa' }), { statusCode: 409 });
  await made.remove();
  await assert.rejects(made.inspect(), { statusCode: 404 });
});

test('attach without leaving HTTP: output and input', { timeout: 10_000 }, async (t) => {
  const { docker } = await client(t);
  const container = await docker.createContainer({ Image: 'host', Cmd: ['echo', 'hello'] });
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  await container.start();
  const text = await read(stream);
  assert.equal(text.slice(8), 'hello\n');
  assert.equal(text.charCodeAt(0), 1);
  assert.equal((await container.wait()).StatusCode, 0);
  const logs = await container.logs({ stdout: true });
  assert.equal(logs.toString().slice(8), 'hello\n');
});

test('attach over an upgraded connection ends when its input does', {
  timeout: 10_000,
}, async (t) => {
  const { docker } = await client(t);
  const order = { Image: 'host', Cmd: ['cat'], OpenStdin: true, StdinOnce: true };
  const container = await docker.createContainer(order);
  const options = { stream: true, stdin: true, stdout: true, hijack: true };
  const stream = await container.attach(options);
  stream.write('early ');
  await container.start();
  stream.end('late');
  const output = new PassThrough();
  docker.modem.demuxStream(stream, output, output);
  await once(stream, 'end');
  output.end();
  assert.equal(await read(output), 'early late');
});

test('a command in a container, and its exit code', { timeout: 10_000 }, async (t) => {
  const { docker } = await client(t);
  const container = await docker.createContainer({ Image: 'host' });
  await container.start();
  for (const [Cmd, code] of [
    [['exit', '3'], 3],
    [['missing'], 127],
  ] as const) {
    const exec = await container.exec({ Cmd: [...Cmd], AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: false });
    const text = await read(stream);
    assert.match(text, code === 127 ? /executable file not found/ : /exit 3/);
    const { ExitCode, Running } = await exec.inspect();
    assert.deepEqual([ExitCode, Running], [code, false]);
  }
});

test('events as they happen, whole nanoseconds, and a replay that ends', async (t) => {
  const { docker, call } = await client(t);
  const stream = await docker.getEvents({ filters: { type: ['network'] } });
  const heard = once(stream, 'data');
  await docker.createNetwork({ Name: 'aa' });
  const [line] = await heard;
  const event = JSON.parse(String(line));
  assert.deepEqual(
    [event.Type, event.Action, event.Actor.Attributes.name],
    ['network', 'create', 'aa'],
  );
  assert.match(String(line), /"timeNano":\d{19}\}/);
  (stream as unknown as { destroy(): void }).destroy();
  const replay = await call('GET', `/events?since=1&until=${Math.floor(Date.now() / 1000) - 1}`);
  assert.equal(replay.status, 200);
});

test('versions, unknown paths and bad bodies are answered as the reference server does', async (t) => {
  const { call } = await client(t);
  const message = async (method: string, path: string, body?: unknown) => {
    const reply = await call(method, path, body);
    return [reply.status, (reply.body as { message: string }).message];
  };
  assert.deepEqual(await message('GET', '/v1.99/info'), [
    400,
    'client version 1.99 is too new. Maximum supported API version is 1.50',
  ]);
  assert.match(String((await message('GET', '/v1.10/info'))[1]), /too old.*1\.24/);
  assert.deepEqual(await message('GET', '/v1.50/nothing'), [404, 'page not found']);
  assert.deepEqual(await message('POST', '/networks/create', { Name: 7 }), [
    400,
    'invalid JSON: Name must be a string',
  ]);
  const ping = await call('GET', '/_ping');
  assert.deepEqual(
    [ping.body, ping.headers['api-version'], ping.headers['swarm']],
    ['OK', '1.50', 'inactive'],
  );
  assert.equal((await call('POST', '/networks/create', { nAmE: 'cased' })).status, 201);
  assert.equal((await message('GET', '/services'))[0], 503);
});

test('an upgrade that is refused is answered in HTTP', { timeout: 10_000 }, async (t) => {
  const { path } = await serveEngine(t);
  for (const pieces of [1, 3]) {
    const body = '{"Detach":false,"Tty":false}';
    const head = `POST /exec/nope/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    const socket = connect(path);
    const whole = head + body;
    const size = Math.ceil(whole.length / pieces);
    for (let at = 0; at < whole.length; at += size) {
      socket.write(whole.slice(at, at + size));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const answer = await read(socket);
    assert.match(answer, /^HTTP\/1\.1 404 /);
    assert.match(answer, /No such exec instance: nope/);
  }
});
