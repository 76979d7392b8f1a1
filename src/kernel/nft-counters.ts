import { type Exec, must } from './exec.ts';

/** What an element has matched. */
export type ElementCount = { readonly packets: number; readonly bytes: number };

type ListedElement = {
  readonly elem?: { val: unknown; counter?: { packets: number; bytes: number } };
};
type Listing = { readonly nftables: readonly { set?: { elem?: readonly ListedElement[] } }[] };

/** Reads the counters of a set whose elements are single numbers, such as marks. */
export async function readCounters(
  exec: Exec,
  table: string,
  set: string,
): Promise<Map<number, ElementCount>> {
  const text = await must(exec, ['nft', '-j', 'list', 'set', 'inet', table, set]);
  // exempt(as): the form is nft's own. Source: libnftables-json(5)
  const { nftables } = JSON.parse(text) as Listing;
  const counts = new Map<number, ElementCount>();
  for (const { elem } of nftables.flatMap((object) => object.set?.elem ?? [])) {
    if (elem?.counter) counts.set(Number(elem.val), elem.counter);
  }
  return counts;
}
