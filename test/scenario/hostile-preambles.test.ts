import assert from 'node:assert/strict';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { encodeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { exchange } from '../support/attack.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const SOURCE = { address: '203.0.113.9', port: 4711 };
const TARGET = { address: '198.51.100.1', port: 443 };
// The addresses alone, without the checksum that would be wrong after any change.
const V2 = encodeProxyHeader('v2', SOURCE, TARGET, []).subarray(0, 28);
V2.writeUInt16BE(12, 14);

let web = 0;
let passed = 0;
let patient = 0;
let reached = 0;
let gateway: Gateway | undefined;
const origin = http.createServer((request, response) => {
  reached++;
  response.end(`for ${request.headers['x-forwarded-for']}`);
});
const raw = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', () => {
    reached++;
  });
});

before(async () => {
  for (const server of [origin, raw]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  }
  const [originPort, rawPort] = [origin, raw].map((one) => (one.address() as AddressInfo).port);
  [web = 0, passed = 0, patient = 0] = await freePorts(3);
  gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    acceptProxy: { from: [127.0.0.0/8] }
    timeouts: { handshake: 400ms }
    service: app
  passed:
    bind: "127.0.0.1:${passed}"
    protocol: tls-passthrough
    timeouts: { handshake: 400ms }
    routes: [{ match: { sni: a.test }, service: raw }]
  patient:
    bind: "127.0.0.1:${patient}"
    protocol: tls-passthrough
    timeouts: { handshake: 10m }
    routes: [{ match: { sni: a.test }, service: raw }]
services:
  app: { health: false, passive: false, endpoints: ["127.0.0.1:${originPort}"] }
  raw: { health: false, passive: false, endpoints: ["127.0.0.1:${rawPort}"] }
`);
});

after(async () => {
  await gateway?.stop();
  origin.closeAllConnections();
  origin.close();
  raw.close();
});

/** A v2 header with some of its bytes changed. */
function changed(changes: Readonly<Record<number, number>>): string {
  const bytes = Buffer.from(V2);
  for (const [at, value] of Object.entries(changes)) bytes[Number(at)] = value;
  return bytes.toString('latin1');
}

const v2 = V2.toString('latin1');
const GARBLED: Readonly<Record<string, string>> = {
  'no header': '',
  'half a header': 'PROXY TCP4 203.0.113.9',
  'a header in lower case': 'proxy TCP4 203.0.113.9 198.51.100.1 1 2\r\n',
  'a port over 65535': 'PROXY TCP4 203.0.113.9 198.51.100.1 65536 443\r\n',
  'a negative port': 'PROXY TCP4 203.0.113.9 198.51.100.1 -1 443\r\n',
  'a port with zeros before it': 'PROXY TCP4 203.0.113.9 198.51.100.1 00001 443\r\n',
  'an IPv6 address as TCP4': 'PROXY TCP4 ::1 ::2 1 443\r\n',
  'an address that is none': 'PROXY TCP4 203.0.113.999 198.51.100.1 1 443\r\n',
  'a name for an address': 'PROXY TCP4 localhost 198.51.100.1 1 443\r\n',
  'a family that is none': 'PROXY UDP4 203.0.113.9 198.51.100.1 1 443\r\n',
  'two spaces': 'PROXY TCP4  203.0.113.9 198.51.100.1 1 443\r\n',
  'a field too few': 'PROXY TCP4 203.0.113.9 198.51.100.1 1\r\n',
  'a field too many': 'PROXY TCP4 203.0.113.9 198.51.100.1 1 443 9\r\n',
  'a bare LF': 'PROXY TCP4 203.0.113.9 198.51.100.1 1 443\n',
  'more than 107 bytes': `PROXY UNKNOWN ${'a'.repeat(120)}\r\n`,
  'version 3 in binary': changed({ 12: 0x31 }),
  'a command that is none': changed({ 12: 0x22 }),
  'addresses that do not fit': changed({ 14: 0, 15: 4 }),
  'a TLV that overruns': `${changed({ 14: 0, 15: 16 }).slice(0, 28)}\x04\x00\x09a`,
  'a checksum that is wrong': `${changed({ 14: 0, 15: 19 }).slice(0, 28)}\x03\x00\x04\x00\x00\x00\x01`,
  'a length of 65535': changed({ 14: 0xff, 15: 0xff }),
};

test('a PROXY header that is not right closes the connection, and nothing is forwarded', async () => {
  const wrong: string[] = [];
  reached = 0;
  for (const [name, header] of Object.entries(GARBLED)) {
    const { text, ending } = await exchange(web, header + GET);
    if (text !== '' || ending === 'open') wrong.push(`${name}: ${ending}: ${text}`);
  }
  assert.deepEqual(wrong, []);
  assert.equal(reached, 0);
});

test('LOCAL, UNSPEC and UNKNOWN stand for the connection as it is', async () => {
  const unspecified = encodeProxyHeader('v2', { address: 'unix', port: 0 }, TARGET, []);
  const headers = [changed({ 12: 0x20 }), unspecified.toString('latin1'), 'PROXY UNKNOWN\r\n'];
  for (const header of headers) {
    const { text } = await exchange(web, header + GET);
    assert.match(text, /for 127\.0\.0\.1$/, JSON.stringify(header));
  }
  assert.match((await exchange(web, v2 + GET)).text, /for 203\.0\.113\.9$/);
});

const HELLOS: Readonly<Record<string, string>> = {
  'plain HTTP': GET,
  'a record of length 0': '\x16\x03\x01\x00\x00',
  'an alert': '\x15\x03\x01\x00\x02\x02\x28',
  'a record of 65535 bytes': `\x16\x03\x01\xff\xff\x01\x00\xff\xfb${'a'.repeat(70_000)}`,
  SSLv2: '\x80\x2e\x01\x00\x02',
  'a handshake that is no ClientHello': '\x16\x03\x01\x00\x04\x02\x00\x00\x00',
  'a ClientHello of 16 MB': '\x16\x03\x01\x40\x00\x01\xff\xff\xff',
  zeros: '\0'.repeat(100),
};

test('what is no ClientHello closes the connection, and nothing is forwarded', async () => {
  const wrong: string[] = [];
  reached = 0;
  for (const [name, bytes] of Object.entries(HELLOS)) {
    const { text, ending } = await exchange(passed, bytes);
    // An alert may be told; nothing else is.
    const quiet = text === '' || text.charCodeAt(0) === 0x15;
    if (!quiet || ending === 'open') wrong.push(`${name}: ${ending}: ${JSON.stringify(text)}`);
  }
  const half = await exchange(patient, '\x16\x03\x01\x01\x00\x01\x00', { half: true });
  assert.notEqual(half.ending, 'open', 'half a hello and an end is not waited on');
  assert.deepEqual(wrong, []);
  assert.equal(reached, 0);
  await eventually('refusals are counted', async () => {
    const { text } = (await gateway?.admin('/metrics')) ?? { text: '' };
    return /sluice_listener_refused_total\{listener="passed",reason="[a-z-]+"\} [1-9]/.test(text);
  });
});
