import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Forwarder } from '../../../src/gateway/http/forwarded.ts';
import { listener } from '../../../src/model/listener.ts';
import type { RequestHead } from '../../../src/net/http-exchange.ts';
import type { StreamConnection } from '../../../src/net/stream-connection.ts';

const ALL = [
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'forwarded',
  'x-real-ip',
];

function forwarder() {
  const settings = { trust: ['10.0.0.0/8', 'fd00::/8'], headers: ALL };
  const parsed = listener.parse({ bind: ':80', protocol: 'http', forwarded: settings });
  return new Forwarder(parsed.forwarded);
}

// exempt(as): only what a forwarder reads of a head and a connection.
const head = (headers: string[]) =>
  ({ headers, scheme: 'http', authority: 'a.test' }) as unknown as RequestHead;
const from = (address: string) =>
  ({ client: { address, port: 1 }, local: { address: '::1', port: 8080 } }) as StreamConnection;

function client(peer: string, ...headers: string[]): string {
  return forwarder().client(head(headers), from(peer));
}

test('the client is the right-most hop that is not trusted', () => {
  const chain = (value: string) => client('10.0.0.1', 'X-Forwarded-For', value);
  assert.equal(client('192.0.2.1', 'x-forwarded-for', '198.51.100.7'), '192.0.2.1');
  assert.equal(chain('1.1.1.1, 198.51.100.7, 10.9.9.9'), '198.51.100.7');
  assert.equal(chain('198.51.100.7:4711'), '198.51.100.7');
  assert.equal(chain('[2001:db8::1]:443, fd00::2'), '2001:db8::1');
  assert.equal(chain('2001:db8::1'), '2001:db8::1');
  assert.equal(chain('198.51.100.7, ::ffff:10.0.0.9'), '198.51.100.7');
  assert.equal(chain('10.0.0.7, 10.0.0.8'), '10.0.0.7');
  assert.equal(chain('198.51.100.7, _hidden, 10.0.0.8'), '10.0.0.8');
  assert.equal(chain('unknown'), '10.0.0.1');
  assert.equal(chain(' , ,'), '10.0.0.1');
  const two = ['x-forwarded-for', '1.1.1.1', 'x-forwarded-for', '198.51.100.7'];
  assert.equal(client('10.0.0.1', ...two), '198.51.100.7');
});

test('Forwarded names the client where there is no X-Forwarded-For', () => {
  const forwarded = (value: string) => client('10.0.0.1', 'Forwarded', value);
  assert.equal(forwarded('for=198.51.100.7;proto=https, for=10.0.0.3'), '198.51.100.7');
  assert.equal(forwarded('proto=http; For="[2001:db8:cafe::17]:4711"'), '2001:db8:cafe::17');
  assert.equal(forwarded('for=198.51.100.7, for=unknown'), '10.0.0.1');
  assert.equal(forwarded('host="for=1.1.1.1";for=198.51.100.7'), '198.51.100.7');
});

test('claims that are kept pass on unbelieved, and only lists are added to', () => {
  const settings = { trust: [], claims: 'keep', headers: ['x-forwarded-for', 'x-real-ip'] };
  const parsed = listener.parse({ bind: ':80', protocol: 'http', forwarded: settings });
  const kept = new Forwarder(parsed.forwarded);
  const headers = ['X-Forwarded-For', '1.1.1.1', 'X-Forwarded-Proto', 'https', 'X-Real-IP', 'x'];
  headers.push('X-Client-Cert', 'forged');
  const client = kept.client(head(headers), from('192.0.2.1'));
  assert.equal(client, '192.0.2.1');
  kept.apply(head(headers), from('192.0.2.1'), client);
  assert.deepEqual(headers, [
    ...['X-Forwarded-Proto', 'https', 'x-forwarded-for', '1.1.1.1, 192.0.2.1'],
    ...['x-real-ip', '192.0.2.1'],
  ]);
});

test('what a client claims is replaced; a trusted list is appended to', () => {
  const apply = (peer: string) => {
    const headers = ['X-Forwarded-For', '1.1.1.1', 'x-forwarded-proto', 'https', 'X-Real-IP', 'x'];
    headers.push('forwarded', 'for=1.1.1.1', 'X-Client-Cert', 'forged', 'a', 'b');
    const client = forwarder().client(head(headers), from(peer));
    forwarder().apply(head(headers), from(peer), client);
    const pairs = Array.from({ length: headers.length / 2 }, (_, at) =>
      headers.slice(at * 2, at * 2 + 2),
    );
    return Object.fromEntries(pairs);
  };
  assert.deepEqual(apply('2001:db8::9'), {
    a: 'b',
    'x-forwarded-for': '2001:db8::9',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'a.test',
    'x-forwarded-port': '8080',
    forwarded: 'for="[2001:db8::9]";proto=http;host="a.test"',
    'x-real-ip': '2001:db8::9',
  });
  const trusted = apply('10.0.0.1');
  assert.equal(trusted['x-forwarded-for'], '1.1.1.1, 10.0.0.1');
  assert.equal(trusted['x-forwarded-proto'], 'https');
  assert.equal(trusted['x-real-ip'], '1.1.1.1');
  assert.equal(trusted['forwarded'], 'for=1.1.1.1, for=10.0.0.1;proto=http;host="a.test"');
});
