import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { loadNative, type NetfilterEvents } from '../../src/kernel/native.ts';
import { type TableEvent, tableEventsOf } from '../../src/kernel/nft-netlink.ts';
import { netnsUnavailable, run, until } from '../support/netns.ts';

const native = await loadNative();
const skip = netnsUnavailable() || (native ? false : 'koffi is not installed');

const TABLES = `
table ip other {
  set plain { type ipv4_addr; }
}
table inet ours {
  set plain { type inet_service; }
  set prefixes { type ipv4_addr; flags interval; }
  set hairpin { type ipv4_addr . ifname; flags interval; }
}
`;

describe('what the kernel tells of tables', { skip }, () => {
  const name = `slt${process.pid}w`;
  let events: NetfilterEvents | undefined;

  before(() => {
    run('ip', 'netns', 'add', name);
    nft(TABLES);
    events = native?.inNamespace(`/run/netns/${name}`, () => native.netfilterEvents());
  });
  after(() => {
    events?.close();
    run('ip', 'netns', 'delete', name);
  });

  function nft(text: string): void {
    execFileSync('ip', ['netns', 'exec', name, 'nft', '-f', '-'], { input: text });
  }

  /** What is told up to the end of a transaction. */
  async function told(): Promise<TableEvent[]> {
    const all: TableEvent[] = [];
    await until(() => {
      const messages = events?.read();
      assert.ok(messages, 'nothing was lost');
      all.push(...tableEventsOf(messages));
      return all.some((event) => 'author' in event);
    });
    return all;
  }

  const tablesOf = (all: TableEvent[]) => [
    ...new Set(all.flatMap((event) => ('table' in event ? [event.table] : []))),
  ];

  test('elements of every kind of set are told, with the process that changed them', async () => {
    for (let index = 1; index <= 20; index++) {
      const prefix = `10.${index}.0.0/16`;
      for (const element of [
        `plain { ${index} }`,
        `prefixes { ${prefix} }`,
        `hairpin { ${prefix} . "br-${index}" }`,
      ]) {
        nft(`add element inet ours ${element}`);
        const all = await told();
        assert.deepEqual(tablesOf(all), ['ours'], element);
        const author = all.at(-1);
        assert.ok(
          author && 'author' in author && author.author > 1 && author.author !== process.pid,
        );
      }
    }
  });

  test('chains, rules and whole tables are told; those of other families are not ours', async () => {
    for (const change of [
      'add chain inet ours late',
      'add rule inet ours late counter',
      'flush set inet ours hairpin',
      'delete table inet ours',
      'add table inet ours',
    ]) {
      nft(change);
      assert.deepEqual(tablesOf(await told()), ['ours'], change);
    }
    nft('add element ip other plain { 10.0.0.1 }');
    assert.deepEqual(tablesOf(await told()), []);
  });

  test('more than was fetched in time is said to be lost, and what follows is told', async () => {
    nft('add set inet ours many { type ipv4_addr; }');
    await told();
    const addresses = (high: number) =>
      Array.from({ length: 60_000 }, (_, low) => `10.${high}.${low >> 8}.${low & 255}`).join(', ');
    for (let high = 0; high < 4; high++) nft(`add element inet ours many { ${addresses(high)} }`);
    assert.equal(events?.read(), undefined);
    while (events?.read()?.length !== 0);
    nft('add chain inet ours later');
    assert.deepEqual(tablesOf(await told()), ['ours']);
  });
});
