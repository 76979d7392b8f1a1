import assert from 'node:assert/strict';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { MAX_CLIENT_HELLO_BYTES, readClientHello } from '../../../src/wire/client-hello.ts';

/** The ClientHello that Node's TLS client really sends. */
async function capture(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const hello = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => {
      let bytes: Buffer = Buffer.alloc(0);
      socket.on('error', () => {});
      socket.on('data', (data: Buffer) => {
        bytes = Buffer.concat([bytes, data]);
        if (bytes.length < 5 + bytes.readUInt16BE(3)) return;
        socket.destroy();
        resolve(bytes);
      });
    });
  });
  const client = tls.connect({ ...options, host: '127.0.0.1', port });
  client.on('error', () => {});
  const bytes = await hello;
  client.destroy();
  server.close();
  return bytes;
}

/** The same message in records of `size` bytes each. */
function refragment(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

/** A minimal ClientHello with this server_name extension's content. */
function withServerName(content: Buffer): Buffer {
  const u16 = (value: number) => Buffer.from([value >> 8, value & 255]);
  const extension = Buffer.concat([u16(0), u16(content.length), content]);
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32),
    Buffer.from([0, 0, 2, 0x13, 1, 1, 0]),
    u16(extension.length),
    extension,
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
  return Buffer.concat([Buffer.from([22, 3, 1]), u16(message.length), message]);
}

function nameList(...names: string[]): Buffer {
  const entries = names.map((name) =>
    Buffer.concat([Buffer.from([0, name.length >> 8, name.length & 255]), Buffer.from(name)]),
  );
  const list = Buffer.concat(entries);
  return Buffer.concat([Buffer.from([list.length >> 8, list.length & 255]), list]);
}

test('a real ClientHello, fed byte by byte, is read at its last byte', async () => {
  const hello = await capture({ servername: 'API.Example.com', ALPNProtocols: ['h2', 'http/1.1'] });
  for (let size = 0; size < hello.length; size++) {
    assert.deepEqual(readClientHello(hello.subarray(0, size)), { kind: 'need-more' });
  }
  const value = { kind: 'value', sni: 'api.example.com', alpn: ['h2', 'http/1.1'] };
  assert.deepEqual(readClientHello(hello), value);
  assert.deepEqual(readClientHello(Buffer.concat([hello, Buffer.from('what follows')])), value);
});

test('it may be in many records', async () => {
  const hello = await capture({ servername: 'a.example.com' });
  for (const size of [1, 3, 64, 200]) {
    const records = refragment(hello, size);
    if (records.length > MAX_CLIENT_HELLO_BYTES) continue;
    assert.deepEqual(readClientHello(records), { kind: 'value', sni: 'a.example.com', alpn: [] });
    assert.equal(readClientHello(records.subarray(0, -1)).kind, 'need-more');
  }
});

test('no server name is no error', async () => {
  const hello = await capture({});
  assert.deepEqual(readClientHello(hello), { kind: 'value', sni: undefined, alpn: [] });
});

test('a name is lowered and loses its trailing dot', () => {
  const hello = withServerName(nameList('Www.Example.COM.'));
  assert.deepEqual(readClientHello(hello), { kind: 'value', sni: 'www.example.com', alpn: [] });
});

for (const [what, content] of [
  ['an IPv4 literal', nameList('127.0.0.1')],
  ['an IPv6 literal', nameList('::1')],
  ['a NUL', nameList('a.example.com\0.evil.org')],
  ['two names', nameList('a.example.com', 'b.example.com')],
  ['256 bytes', nameList(`${'a.'.repeat(127)}aa`)],
  ['a label of 64 bytes', nameList(`${'a'.repeat(64)}.org`)],
  ['an empty name', nameList('')],
  ['an empty list', nameList()],
  ['a list that is too long', Buffer.from([0, 9, 0, 0, 1, 97])],
  ['no content', Buffer.alloc(0)],
] as const) {
  test(`a server name with ${what} is refused`, () => {
    const result = readClientHello(withServerName(content));
    assert.deepEqual(result, { kind: 'error', reason: 'bad-server-name' });
  });
}

test('other protocols and too much are told apart', async () => {
  const reason = (bytes: Buffer) => {
    const result = readClientHello(bytes);
    return result.kind === 'error' ? result.reason : result.kind;
  };
  assert.equal(reason(Buffer.from('GET / HTTP/1.1\r\n')), 'not-tls');
  assert.equal(reason(Buffer.from([22, 9])), 'not-tls');
  assert.equal(reason(Buffer.from([22, 3, 1, 0, 1, 2])), 'not-tls');
  assert.equal(reason(Buffer.from([22, 3, 1, 0, 0])), 'malformed');
  assert.equal(reason(Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0])), 'too-large');
  const endless = Buffer.alloc(MAX_CLIENT_HELLO_BYTES, Buffer.from([22, 3, 1, 0, 1, 1]));
  assert.notEqual(reason(endless), 'need-more');
});

test('a ClientHello cut in its middle, with lengths set to match, is malformed', async () => {
  const hello = await capture({ servername: 'a.example.com' });
  for (let size = 4; size < hello.length - 5; size += 7) {
    const cut = Buffer.from(hello.subarray(0, 5 + size));
    cut.writeUInt16BE(size, 3);
    cut.writeUIntBE(size - 4, 6, 3);
    const { kind } = readClientHello(cut);
    assert.ok(kind === 'error' || size > 40, `${size}: ${kind}`);
  }
});
