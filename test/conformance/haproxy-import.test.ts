import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../support/gateway.ts';
import { noHaproxy as skip } from '../support/haproxy.ts';
import { type Ask, comparable, HaproxyLab, type Reply, servedBy } from '../support/haproxy-lab.ts';

async function sameAnswers(lab: HaproxyLab, asks: readonly Ask[]): Promise<void> {
  for (const one of asks) {
    const { haproxy, sluice } = await lab.both(one);
    assert.deepEqual(comparable(sluice), comparable(haproxy), JSON.stringify(one));
  }
}

/** Who answers `count` requests of each, by name. */
async function spread(lab: HaproxyLab, one: Ask, count: number) {
  const served = { haproxy: new Map<string, number>(), sluice: new Map<string, number>() };
  const note = (map: Map<string, number>, reply: Reply) => {
    const name = servedBy(reply);
    map.set(name, (map.get(name) ?? 0) + 1);
  };
  for (let sent = 0; sent < count; sent++) {
    const { haproxy, sluice } = await lab.both(one);
    note(served.haproxy, haproxy);
    note(served.sluice, sluice);
  }
  const sorted = (map: Map<string, number>) => Object.fromEntries([...map].sort());
  return { haproxy: sorted(served.haproxy), sluice: sorted(served.sluice) };
}

/** Both let these servers alone answer. */
function servedOnlyBy(lab: HaproxyLab, one: Ask, names: readonly string[]): Promise<void> {
  return eventually(`served by ${names}`, async () => {
    const { haproxy, sluice } = await spread(lab, one, 2 * names.length + 2);
    return [haproxy, sluice].every((map) => Object.keys(map).join() === [...names].sort().join());
  });
}

async function serveAll(t: TestContext, lab: HaproxyLab, ports: readonly number[]) {
  const echoes = new Map<number, Awaited<ReturnType<HaproxyLab['serve']>>>();
  for (const port of ports) echoes.set(port, await lab.serve(t, port));
  return echoes;
}

test('the example of the documentation: by turns, past a server that ends, 503 without any', {
  skip,
}, async (t) => {
  const lab = await HaproxyLab.start(t, 'seed-haproxy.cfg');
  const echoes = await serveAll(t, lab, [9001, 9002, 9003]);
  const one = { port: 8080, path: '/a?b=c' };
  await servedOnlyBy(lab, one, ['9001', '9002', '9003']);
  const shares = { '9001': 3, '9002': 3, '9003': 3 };
  assert.deepEqual(await spread(lab, one, 9), { haproxy: shares, sluice: shares });
  await sameAnswers(lab, [
    { port: 8080, path: '/status/503', headers: { 'x-a_b': 'c', cookie: 'd=e' } },
  ]);
  await echoes.get(9002)?.stop();
  await servedOnlyBy(lab, one, ['9001', '9003']);
  for (const port of [9001, 9003]) await echoes.get(port)?.stop();
  await servedOnlyBy(lab, one, ['status 503']);
});
