import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findCgroups } from '../../../src/kernel/cgroup.ts';
import { type Exec, execCommand } from '../../../src/kernel/exec.ts';
import { IpTool } from '../../../src/kernel/ip.ts';
import { parseListing } from '../../../src/kernel/nft-listing.ts';
import type { TableSpec } from '../../../src/kernel/nft-table.ts';

test('a command is bounded in time and output, and told from one that is missing', async () => {
  await assert.rejects(execCommand(['sleep', '5'], { timeoutMs: 50 }), /did not end within 50 ms/);
  await assert.rejects(execCommand(['yes'], { maxOutputBytes: 1000 }), /printed more than 1000/);
  await assert.rejects(execCommand(['no-such-command']), /cannot be run/);
  const { code, stdout } = await execCommand(['cat'], { input: '$(id) `id`' });
  assert.deepEqual([code, stdout], [0, '$(id) `id`']);
  assert.equal((await execCommand(['false'])).code, 1);
  // A command that does not read its input is no failure.
  assert.equal((await execCommand(['true'], { input: 'x'.repeat(1e6) })).code, 0);
});

test('errors of a batch are told by line and owner; the other lines ran', async () => {
  const stderr =
    'RTNETLINK answers: File exists\nCommand failed -:2\nCannot find device "x"\nCommand failed -:3\n';
  const exec: Exec = async () => ({ code: 1, stdout: '', stderr });
  const errors = await new IpTool(exec).batch([
    { owner: 'a', line: 'one' },
    { owner: 'b', line: 'two' },
    { owner: 'b', line: 'three' },
  ]);
  assert.deepEqual([...errors], [['b', 'ip two: RTNETLINK answers: File exists']]);
  const broken: Exec = async () => ({ code: 1, stdout: '', stderr: 'no rights' });
  await assert.rejects(new IpTool(broken).batch([{ owner: 'a', line: 'x' }]), /no rights/);
});

test('links that a filter left out are no links', async () => {
  const listed = [
    {},
    { ifname: 'eth0', ifindex: 2, flags: ['UP'], mtu: 1500, address: '02:00:00:00:00:01' },
    {
      ifname: 'v',
      master: 'br',
      ifalias: 't',
      linkinfo: { info_kind: 'veth', info_slave_data: { hairpin: true, isolated: true } },
      addr_info: [{ local: '10.0.0.1', prefixlen: 24 }, {}],
    },
  ];
  const exec: Exec = async () => ({ code: 0, stdout: JSON.stringify(listed), stderr: '' });
  const links = await new IpTool(exec).links();
  assert.deepEqual(
    links.map(({ name, up, kind, addresses, isolated }) => [name, up, kind, addresses, isolated]),
    [
      ['eth0', true, undefined, [], false],
      ['v', false, 'veth', ['10.0.0.1/24'], true],
    ],
  );
});

test('control groups of both versions are found', () => {
  const v1 =
    'cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n';
  assert.deepEqual(findCgroups(v1), { version: 1, roots: { cpu: '/sys/fs/cgroup/cpu' } });
  assert.deepEqual(findCgroups('cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n'), {
    version: 2,
    root: '/sys/fs/cgroup',
  });
  assert.equal(findCgroups('proc /proc proc rw 0 0\n'), undefined);
});

test('a listing is read in the words that elements are written in', () => {
  const spec: TableSpec = {
    name: 't',
    sets: [
      { name: 'm', key: ['ipv6_addr', 'inet_proto', 'inet_service'], value: ['verdict'] },
      { name: 's', key: ['ipv4_addr', 'ifname'], interval: true },
    ],
    chains: [{ name: 'c', body: 'accept' }],
    chainOnDemand: () => '',
  };
  const text = JSON.stringify({
    nftables: [
      { metainfo: {} },
      {
        map: {
          name: 'm',
          elem: [[{ concat: ['FD00:0::1', 132, 80] }, { goto: { target: 'x' } }]],
        },
      },
      { set: { name: 's', elem: [{ concat: [{ prefix: { addr: '10.0.0.0', len: 8 } }, 'br0'] }] } },
      { chain: { name: 'c' } },
      { chain: { name: 'x' } },
      { chain: { name: 'gen-1' } },
      { rule: { chain: 'c' } },
    ],
  });
  const listed = parseListing(spec, text);
  assert.deepEqual([...(listed.elements.get('m') ?? [])], [['fd00::1 . sctp . 80', 'goto x']]);
  assert.deepEqual([...(listed.elements.get('s') ?? [])], [['10.0.0.0/8 . "br0"', '']]);
  assert.deepEqual([...listed.chains], ['x']);
  assert.equal(listed.rules.get('c'), 1);
});
