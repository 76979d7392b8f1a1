import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { encode } from 'dns-packet';
import type { NameRecord } from '../../src/model/host-intent.ts';
import {
  attachment,
  bridgeNetwork,
  EMPTY_INTENT,
  netnsUnavailable,
  run,
  sandbox,
  TestHost,
  until,
} from '../support/netns.ts';
import { isAlive } from '../support/processes.ts';

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
/** Source: Linux, include/uapi/linux/capability.h. */
const [CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN] = [2, 19, 21];
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

/**
 * A name server of the outside: `far.test` is 203.0.113.7, `late.test` after 1.5 s, `big.test` is much;
 * all else is missing.
 */
const UPSTREAM = `
const dns = require('dns-packet'), dgram = require('dgram'), net = require('net');
function answer(bytes, udp) {
  const query = dns.decode(bytes), { name, type } = query.questions[0];
  const many = Array.from({ length: 90 }, (_, n) => ({ name, type: 'A', ttl: 60, data: '203.0.113.' + (n + 1) }));
  const answers = ['far.test', 'late.test'].includes(name) && type === 'A' ? [{ name, type, ttl: 60, data: '203.0.113.7' }] : name === 'big.test' ? many : [];
  if (name === 'slow.test') return;
  const response = { type: 'response', id: query.id, flags: dns.RECURSION_AVAILABLE | (answers.length ? 0 : 3), questions: query.questions, answers };
  const out = dns.encode(response);
  return udp && out.length > 512 ? dns.encode({ ...response, flags: response.flags | dns.TRUNCATED_RESPONSE, answers: [] }) : out;
}
const udp = dgram.createSocket('udp4');
udp.on('message', (m, r) => {
  const out = answer(m, true), late = m.includes('late') ? 1500 : 0;
  if (out) setTimeout(() => udp.send(out, r.port, r.address), late);
});
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

  /** Asks without a pause until it is ended; resolves with what was not answered rightly. */
  function asking(): () => Promise<{ asked: number; wrong: string[] }> {
    let [asked, ended] = [0, false];
    const wrong: string[] = [];
    const ask = async (): Promise<void> => {
      while (!ended) {
        for (const argv of [['web'], ['+tcp', 'web'], ['far.test']]) {
          const said = await digLater(box, ...argv);
          asked += 1;
          if (!/^(172\.20\.0\.11|203\.0\.113\.7)\n$/.test(said)) wrong.push(`${argv}: ${said}`);
        }
      }
    };
    const all = [ask(), ask()];
    return async () => {
      ended = true;
      await Promise.all(all);
      return { asked, wrong };
    };
  }

  function digLater(from: { id: string }, ...args: string[]): Promise<string> {
    const argv = ['dig', '@127.0.0.11', '+short', '+time=9', '+tries=1', ...args];
    const child = spawn('nsenter', [`--net=/run/netns/${host.netns(from.id)}`, ...argv]);
    let said = '';
    child.stdout.on('data', (data) => {
      said += data;
    });
    return new Promise((resolve) => child.once('close', () => resolve(said)));
  }

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    test(`${signal} for the agent: names are answered without it, and by the next one, without a gap`, async () => {
      const [first] = host.resolverPids;
      const end = asking();
      const late = digLater(box, 'late.test');
      await host.killAgent(signal);
      assert.equal(short(box, 'web'), '172.20.0.11');
      assert.equal(short(other, 'db'), '172.21.0.12');
      assert.equal(short(box, 'far.test'), '203.0.113.7');
      assert.equal(await late, '203.0.113.7\n');
      await host.startAgent();
      const overtaken = digLater(box, 'late.test');
      const names = [record(a, 'web', ['172.20.0.11'], true), record(a, 'new', ['172.20.0.12'])];
      assert.deepEqual((await host.agent.sync({ ...intent, names })).failures, []);
      await until(() => short(box, 'new') === '172.20.0.12' && !isAlive(first ?? 0));
      assert.equal(await overtaken, '203.0.113.7\n');
      const { asked, wrong } = await end();
      assert.deepEqual(wrong, []);
      assert.ok(asked > 0);
      assert.equal(host.resolverPids.length, 1);
      await host.agent.sync(intent);
    });
  }

  test('the resolver is killed: queries wait for the next one', async () => {
    const [killed = 0] = host.resolverPids;
    const end = asking();
    process.kill(killed, 'SIGKILL');
    assert.equal(await digLater(box, 'web'), '172.20.0.11\n');
    assert.equal(await digLater(other, 'db'), '172.21.0.12\n');
    const { wrong } = await end();
    // What it had taken is lost with it: one query of each that ask, at most.
    assert.ok(wrong.length <= 2, String(wrong));
    assert.notEqual(host.resolverPids[0], killed);
  });

  test('it has the rights that it needs, and no others', () => {
    const status = readFileSync(`/proc/${host.resolverPids[0]}/status`, 'utf8');
    const bits = [CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN];
    const wanted = bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
    for (const set of ['CapPrm', 'CapEff', 'CapBnd']) {
      const text = new RegExp(`${set}:\\s*([0-9a-f]+)`).exec(status)?.[1];
      assert.equal(BigInt(`0x${text}`) & ~wanted, 0n, set);
    }
    assert.match(status, /NoNewPrivs:\s*1/);
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

  test('a sandbox goes while its queries wait', async () => {
    await host.agent.apply({ put: { sandboxes: [other] }, remove: {} });
    const [before] = host.resolverPids;
    const late = digLater(other, '+time=2', 'late.test');
    await until(() => host.inSandbox(other.id, 'ss', '-Haun').includes(':53'));
    await host.agent.apply({ put: {}, remove: { sandboxes: [other.id] } });
    await late;
    assert.equal(short(box, 'web'), '172.20.0.11');
    assert.deepEqual(host.resolverPids, [before]);
  });

  test('the resolver ends with the agent when there is no sandbox, and with the last one', async () => {
    await host.agent.sync({ ...intent, sandboxes: [other, closed] });
    await host.killAgent();
    run('ip', 'netns', 'delete', host.netns(other.id));
    assert.equal(short(closed, 'inside'), '172.22.0.11');
    run('ip', 'netns', 'delete', host.netns(closed.id));
    await until(() => host.resolverPids.length === 0);
    await until(() => !/veth/.test(host.onHost('ip', '-o', 'link')));
    await host.startAgent();
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.equal(short(box, 'web'), '172.20.0.11');
    await host.agent.sync(EMPTY_INTENT);
    await until(() => host.resolverPids.length === 1);
    await host.killAgent('SIGTERM');
    await until(() => host.resolverPids.length === 0);
    assert.deepEqual(readdirSync(join(host.root, 'resolvers')), []);
  });
});
