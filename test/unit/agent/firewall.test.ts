import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Firewall } from '../../../src/agent/plane/firewall.ts';
import { hostContent } from '../../../src/agent/plane/host-content.ts';
import { HostElements } from '../../../src/agent/plane/host-elements.ts';
import { hostTable } from '../../../src/agent/plane/host-table.ts';
import type { TableContent } from '../../../src/kernel/nft-table.ts';
import type { ForwardIntent, SandboxIntent } from '../../../src/model/host-intent.ts';
import { FakeNft } from '../../support/fake-nft.ts';
import { bridgeNetwork, forward } from '../../support/netns.ts';

const spec = hostTable('sluice');
const shown = (content: TableContent) =>
  [...content.elements]
    .flatMap(([set, elements]) => [...elements].map(([key, value]) => `${set} ${key} ${value}`))
    .toSorted();

const target = fc.constantFrom('172.20.0.2:80', '172.20.0.3:80', '[fd00::2]:80', '[fd00::3]:81');
const anyForward: fc.Arbitrary<ForwardIntent> = fc
  .record({
    port: fc.integer({ min: 1, max: 6 }),
    targets: fc.uniqueArray(target, { maxLength: 4 }),
    transport: fc.constantFrom('tcp' as const, 'udp' as const),
    address: fc.constantFrom(undefined, '127.0.0.1', '192.0.2.1', '2001:db8::1', '::1'),
    balance: fc.constantFrom('round-robin' as const, 'random' as const, 'source-hash' as const),
  })
  .map(({ port, targets, ...rest }) => forward(port, targets, rest));
const anyNetwork = fc.constantFrom(
  bridgeNetwork('a', ['172.20.0.0/24', 'fd00::/64']),
  bridgeNetwork('b', ['172.21.0.0/24'], { internal: true }),
  bridgeNetwork('c', ['172.22.0.0/24'], { icc: false, masquerade: false }),
);
const anySandbox = fc
  .record({ id: fc.constantFrom('box', 'cage'), port: fc.integer({ min: 1, max: 3 }) })
  .map(
    ({ id, port }): SandboxIntent => ({
      ...{ id, attachments: [], resolver: undefined, sysctls: {} },
      openings: [
        {
          link: 'br-c',
          source: `172.22.0.${id.length}`,
          target: '172.22.0.9',
          transport: 'tcp',
          port,
        },
      ],
    }),
  );
const anyObjects = fc.record({
  sandboxes: fc.uniqueArray(anySandbox, { selector: ({ id }) => id }),
  networks: fc.uniqueArray(anyNetwork, { selector: ({ id }) => id }),
  forwards: fc.uniqueArray(anyForward, { selector: ({ id }) => id, maxLength: 8 }),
});
const anyContent = anyObjects.map(({ networks, forwards, sandboxes }) =>
  hostContent(networks, forwards, sandboxes),
);

test('from any content to any other by one transaction that the kernel takes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyContent, { minLength: 1, maxLength: 5 }), async (contents) => {
      const nft = new FakeNft();
      const firewall = new Firewall(nft, spec);
      for (const content of contents) {
        const before = nft.log.length;
        const outcome = await firewall.update(content);
        assert.equal(nft.log.length - before, outcome === 'same' ? 0 : 1);
        const listed = await nft.list(spec);
        assert.deepEqual(listed && shown(listed), shown(content));
      }
    }),
    { numRuns: 60 },
  );
});

test('of several who bring it about at once, each builds on the one before', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyContent, { minLength: 2, maxLength: 5 }), async (contents) => {
      const nft = new FakeNft();
      const firewall = new Firewall(nft, spec);
      const [first, ...rest] = contents;
      assert.ok(first);
      await firewall.update(first);
      await Promise.all(
        rest.map((content, turn) =>
          turn % 2 === 0 ? firewall.update(content) : firewall.verify(content),
        ),
      );
      const [listed, last] = [await nft.list(spec), contents.at(-1)];
      assert.deepEqual(listed && shown(listed), last && shown(last));
    }),
    { numRuns: 60 },
  );
});

const keysOf = (content: TableContent) =>
  [...content.elements]
    .flatMap(([set, elements]) => [...elements.keys()].map((key) => `${set} ${key}`))
    .toSorted();
const byId = <T extends { readonly id: string }>(items: readonly T[]) =>
  new Map(items.map((item) => [item.id, item]));

test('content kept from intent to intent is that of a whole pass, by the smallest change', async () => {
  const clash = forward(3, ['172.20.0.9:80'], { id: 'the port of another' });
  const steps = fc.array(fc.tuple(anyObjects, fc.boolean()), { minLength: 1, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const nft = new FakeNft();
      const firewall = new Firewall(nft, spec);
      const kept = new HostElements();
      for (const [{ networks, forwards, sandboxes }, clashes] of all) {
        const given = clashes ? [...forwards, clash] : forwards;
        const change = kept.update({
          ...{ networks: byId(networks), forwards: byId(given), sandboxes: byId(sandboxes) },
        });
        await firewall.update(kept.content, change);
        const listed = await nft.list(spec);
        assert.deepEqual(listed && shown(listed), shown(kept.content));
        const whole = hostContent(networks, given, sandboxes);
        // Who of two that claim one key has it is not defined, but that one of them has it.
        if (clashes) assert.deepEqual(keysOf(kept.content), keysOf(whole));
        else assert.deepEqual(shown(kept.content), shown(whole));
      }
    }),
    { numRuns: 60 },
  );
});

test('a later agent takes over what it finds, without a change', async () => {
  const nft = new FakeNft();
  const content = hostContent(
    [bridgeNetwork('a', ['10.0.0.0/24'])],
    [forward(80, ['10.0.0.2:80'])],
  );
  assert.equal(await new Firewall(nft, spec).update(content), 'replaced');
  assert.equal(await new Firewall(nft, spec).update(content), 'same');
});

const harms: [string, (nft: FakeNft) => void][] = [
  ['the table is gone', (nft) => nft.tables.clear()],
  ['a chain is empty', (nft) => nft.tables.get('sluice')?.chains.set('nat_in', [])],
  ['a map is empty', (nft) => nft.tables.get('sluice')?.sets.get('to_any4')?.elements.clear()],
  [
    'an element leads elsewhere',
    (nft) =>
      nft.tables.get('sluice')?.sets.get('to_any4')?.elements.set('tcp . 80', '10.9.9.9 . 1'),
  ],
];
for (const [what, harm] of harms) {
  test(`what somebody else changed is mended: ${what}`, async () => {
    const nft = new FakeNft();
    const content = hostContent([], [forward(80, ['10.0.0.2:80'])]);
    const firewall = new Firewall(nft, spec);
    await firewall.update(content);
    harm(nft);
    assert.notEqual(await firewall.verify(content), 'same');
    const listed = await nft.list(spec);
    assert.deepEqual(listed && shown(listed), shown(content));
    assert.equal(await firewall.verify(content), 'same');
  });
}

test('a change meets a table that is not as it was thought', async () => {
  const nft = new FakeNft();
  const firewall = new Firewall(nft, spec);
  await firewall.update(hostContent([], [forward(80, ['10.0.0.2:80'])]));
  nft.tables.get('sluice')?.sets.get('to_any4')?.elements.clear();
  const next = hostContent([], [forward(80, ['10.0.0.3:80'])]);
  await firewall.update(next);
  const listed = await nft.list(spec);
  assert.deepEqual(listed && shown(listed), shown(next));
});

test('the fake refuses what the kernel refuses, and then changes nothing', async () => {
  const nft = new FakeNft();
  await new Firewall(nft, spec).update(hostContent([], [forward(80, ['10.0.0.2:80'])]));
  const refused = [
    'add element inet sluice to_any4 { tcp . 80 : 10.0.0.9 . 80 }',
    'delete element inet sluice to_any4 { tcp . 81 }',
    'add element inet sluice nosuch { tcp . 80 }',
    'add element inet sluice to_any4 { tcp . 82 : fd00::1 . 80 }',
    'add element inet sluice balance_any4 { tcp . 82 : goto nowhere }',
  ];
  for (const text of refused) {
    await assert.rejects(nft.run(`add element inet sluice closed_any { tcp . 9 }\n${text}\n`));
  }
  assert.equal(nft.tables.get('sluice')?.sets.get('closed_any')?.elements.size, 0);
});
