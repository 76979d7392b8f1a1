import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figure } from '../support/figures.ts';
import { eventually } from '../support/gateway.ts';
import { runLoad } from '../support/load.ts';
import { startSite } from '../support/site.ts';

const WANTED: Readonly<Record<string, number>> = { 'consistent-hash': 0, maglev: 2 };

for (const [algorithm, percent] of Object.entries(WANTED)) {
  test(`${algorithm}: one of ten backends leaves`, async (t) => {
    const balance = `{ algorithm: ${algorithm}, key: { header: x-seq } }`;
    const { port, gateway, backends } = await startSite(t, {
      backends: 10,
      service: `, balance: ${balance}`,
    });
    const ask = { port, perSecond: 1000, seconds: 4, connections: 100 };
    const first = await runLoad(t, ask);
    await backends[3]?.kill();
    await eventually('its end is known', async () => {
      const { text } = await gateway.admin('/v1/services/app/endpoints');
      return text.includes('"check":"down"');
    });
    const second = await runLoad(t, ask);
    const names = first.result.backend;
    const gone = names.filter((name) => name === 'four').length;
    const stayed = second.result.backend.flatMap((name, seq) =>
      names[seq] === undefined || names[seq] === 'four' ? [] : [name === names[seq]],
    );
    const moved = stayed.filter((same) => !same).length;
    const share = (moved * 100) / stayed.length;
    figure(t, {
      experiment: '16',
      what: `${algorithm}, one of ten backends killed, ${first.sent} keys`,
      measured: `${gone} keys had to move, ${moved} others moved (${share.toFixed(2)} %); failed: ${second.summary()}`,
      wanted: `≤ ${percent} % of the others`,
    });
    assert.ok(gone > first.sent / 20, 'it had its share');
    assert.deepEqual(second.failures(), []);
    assert.ok(share <= percent, `${share}`);
  });
}
