import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { encode } from 'dns-packet';
import type { NameRecord } from '../../src/model/host-intent.ts';
import {
  attachment,
  bridgeNetwork,
  netnsUnavailable,
  sandbox,
  TestHost,
  until,
} from '../support/netns.ts';

const hasDig = spawnSync('dig', ['-v']).error === undefined;
const skip = netnsUnavailable() || (!hasDig && 'the command dig (dnsutils) is not installed');
const a = bridgeNetwork('a', ['172.20.0.0/24', 'fd00:20::/64']);
const b = bridgeNetwork('b', ['172.21.0.0/24']);
const inner = bridgeNetwork('i', ['172.22.0.0/24'], { internal: true });

function record(
  network: { id: string },
  name: string,
  addresses: string[],
  primary = false,
): NameRecord {
  return { name, network: network.id, addresses, primary };
}

const resolver = { servers: ['192.0.2.100'], records: [], ndots: undefined };
const box = sandbox('d1', [attachment('d1', a, ['172.20.0.11/24', 'fd00:20::11/64'])], {
  resolver: { ...resolver, records: [record(a, 'linked', ['172.20.0.99'])] },
});
const other = sandbox('d2', [attachment('d2', b, ['172.21.0.11/24'])], { resolver });
const closed = sandbox('d3', [attachment('d3', inner, ['172.22.0.11/24'])], { resolver });
const many = Array.from({ length: 100 }, (_, index) => `10.1.0.${index + 1}`);
const intent = {
  networks: [a, b, inner],
  sandboxes: [box, other, closed],
  forwards: [],
  names: [
    record(a, 'web', ['172.20.0.11', 'fd00:20::11'], true),
    record(a, 'web.a', ['172.20.0.11', 'fd00:20::11']),
    record(a, 'many', many),
    record(b, 'web', ['172.21.0.11'], true),
    record(b, 'db', ['172.21.0.12'], true),
    record(inner, 'inside', ['172.22.0.11'], true),
  ],
};

/** A name server of the outside: `far.test` is 203.0.113.7, `big.test` much; all else is missing. */
const UPSTREAM = `
const dns = require('dns-packet'), dgram = require('dgram'), net = require('net');
function answer(bytes, udp) {
  const query = dns.decode(bytes), { name, type } = query.questions[0];
  const many = Array.from({ length: 90 }, (_, n) => ({ name, type: 'A', ttl: 60, data: '203.0.113.' + (n + 1) }));
  const answers = name === 'far.test' && type === 'A' ? [{ name, type, ttl: 60, data: '203.0.113.7' }] : name === 'big.test' ? many : [];
  if (name === 'slow.test') return;
  const response = { type: 'response', id: query.id, flags: dns.RECURSION_AVAILABLE | (answers.length ? 0 : 3), questions: query.questions, answers };
  const out = dns.encode(response);
  return udp && out.length > 512 ? dns.encode({ ...response, flags: response.flags | dns.TRUNCATED_RESPONSE, answers: [] }) : out;
}
const udp = dgram.createSocket('udp4');
udp.on('message', (m, r) => { const out = answer(m, true); if (out) udp.send(out, r.port, r.address); });
udp.bind(53, '192.0.2.100');
net.createServer((c) => { c.on('error', () => {}); c.on('data', (d) => { const out = answer(d.subarray(2), false); if (out) { const l = Buffer.alloc(2); l.writeUInt16BE(out.length); c.write(Buffer.concat([l, out])); } }); }).listen(53, '192.0.2.100');
`;

describe('the resolver of a sandbox', { skip }, () => {
  let host: TestHost;
  let upstream: ReturnType<typeof spawn>;

  before(async () => {
    host = await TestHost.start();
    upstream = spawn(
      'nsenter',
      [`--net=/run/netns/${host.outside}`, process.execPath, '-e', UPSTREAM],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
        cwd: new URL('../../', import.meta.url),
      },
    );
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    await until(() => dig(box, 'far.test').includes('203.0.113.7'));
  });
  after(async () => {
    upstream?.kill('SIGKILL');
    await host?.stop();
  });

  function dig(from: { id: string }, ...args: string[]): string {
    const argv = ['dig', '@127.0.0.11', '+time=1', '+tries=1', ...args];
    const { stdout } = spawnSync('nsenter', [`--net=/run/netns/${host.netns(from.id)}`, ...argv]);
    return stdout.toString();
  }
  const short = (from: { id: string }, ...args: string[]) =>
    dig(from, '+short', ...args)
      .trim()
      .split('\n')
      .toSorted()
      .join(' ');

  test('names are those of the networks that the sandbox is on', () => {
    assert.equal(short(box, 'web'), '172.20.0.11');
    assert.equal(short(box, 'WEB.', 'AAAA'), 'fd00:20::11');
    assert.equal(short(box, 'web.a'), '172.20.0.11');
    assert.equal(short(other, 'web'), '172.21.0.11');
    assert.equal(short(other, 'db'), '172.21.0.12');
    assert.match(dig(box, 'db'), /NXDOMAIN/);
    assert.equal(short(box, 'linked'), '172.20.0.99');
    assert.match(dig(other, 'linked'), /NXDOMAIN/);
  });

  test('a known name without addresses of a kind exists; answers live 5 s', () => {
    const nodata = dig(other, 'web', 'AAAA');
    assert.match(nodata, /NOERROR/);
    assert.match(nodata, /ANSWER: 0/);
    assert.match(dig(box, 'web', 'MX'), /NOERROR[\s\S]*ANSWER: 0/);
    assert.match(dig(box, 'web'), /web\.\s+5\s+IN\s+A/);
  });

  test('reverse names', () => {
    assert.equal(short(box, '-x', '172.20.0.11'), 'web.');
    assert.equal(short(box, '-x', 'fd00:20::11'), 'web.');
    assert.match(dig(box, '-x', '172.21.0.12'), /NXDOMAIN/);
  });

  test('many addresses: shuffled, by TCP when they do not fit', () => {
    const cut = dig(box, '+noedns', '+ignore', 'many');
    assert.match(cut, /flags: qr[^;]* tc/);
    const all = dig(box, '+short', 'many').trim().split('\n');
    assert.equal(new Set(all).size, 100);
    const again = dig(box, '+short', 'many').trim().split('\n');
    assert.notDeepEqual(again, all);
  });

  test('what is not ours is asked for outside, by UDP and TCP', () => {
    assert.equal(short(box, 'far.test'), '203.0.113.7');
    assert.equal(short(box, '+tcp', 'far.test'), '203.0.113.7');
    assert.equal(dig(box, '+short', 'big.test').trim().split('\n').length, 90);
    assert.match(dig(box, 'none.test'), /NXDOMAIN/);
  });

  test('an internal network asks nobody outside', () => {
    assert.equal(short(closed, 'inside'), '172.22.0.11');
    assert.match(dig(closed, 'far.test'), /SERVFAIL/);
  });

  test('a server that does not answer is given up', () => {
    const argv = ['+time=9', 'slow.test'];
    assert.match(dig(box, ...argv), /SERVFAIL/);
  });

  test('port 53 itself is left to the sandbox', () => {
    const listeners = host.inSandbox(box.id, 'ss', '-Hlun');
    assert.doesNotMatch(listeners, /:53\s/);
  });

  test('changed names are answered at once', async () => {
    const names = [record(b, 'web', ['172.21.0.44'], true)];
    await host.agent.apply({ put: { names }, remove: { names: [a.id] } });
    assert.equal(short(other, 'web'), '172.21.0.44');
    assert.match(dig(other, 'db'), /NXDOMAIN/);
    assert.match(dig(box, 'web'), /NXDOMAIN/);
    await host.agent.sync(intent);
    assert.equal(short(box, 'web'), '172.20.0.11');
  });

  test('garbage is no harm', async () => {
    const peer = await host.peer(host.netns(box.id));
    assert.equal(await peer.udp('127.0.0.11', 53, 200), 'timeout');
    assert.equal(short(box, 'web'), '172.20.0.11');
    assert.ok(encode({ type: 'query', id: 1, questions: [] }));
  });

  test('queries wait for the next agent', async () => {
    await host.killAgent();
    const waiting = spawn('nsenter', [
      `--net=/run/netns/${host.netns(box.id)}`,
      ...['dig', '@127.0.0.11', '+short', '+time=9', '+tries=1', 'web'],
    ]);
    let said = '';
    waiting.stdout.on('data', (data) => {
      said += data;
    });
    const ended = new Promise((resolve) => waiting.once('exit', resolve));
    await host.startAgent();
    await host.agent.sync(intent);
    await ended;
    assert.equal(said.trim(), '172.20.0.11');
  });

  test('without the optional package the same answers, by a helper', async () => {
    await host.killAgent();
    await host.startAgent('--without-koffi');
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.equal(short(box, 'web'), '172.20.0.11');
    assert.equal(short(box, '+tcp', 'web'), '172.20.0.11');
    assert.equal(short(other, 'web'), '172.21.0.11');
    await host.killAgent();
    await host.startAgent();
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.equal(short(box, 'web'), '172.20.0.11');
  });

  test('a sandbox that goes leaves no socket', async () => {
    await host.agent.apply({ put: {}, remove: { sandboxes: [other.id] } });
    await until(() => !/veth/.test(host.onHost('ip', '-o', 'link', 'show', 'master', 'br-b')));
    assert.equal(short(box, 'web'), '172.20.0.11');
  });
});
