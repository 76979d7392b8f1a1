import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Figures } from '../../../src/gateway/stats/figures.ts';
import { serverRow } from '../../../src/gateway/stats/server-row.ts';
import { StatHistory } from '../../../src/gateway/stats/stat-history.ts';
import type { EndpointState } from '../../../src/model/endpoint-state.ts';
import { service } from '../../../src/model/service.ts';

const UP_SINCE = 1_800_000_000_000;
const LABELS = ['app', '127.0.0.1:80'];
const ENDPOINT: EndpointState = {
  ...{ id: '127.0.0.1:80', address: { host: '127.0.0.1', port: 80 }, weight: 10, backup: false },
  ...{ admin: 'ready', check: 'up', ejected: false, reason: '', upSince: UP_SINCE },
};

/** The row of an endpoint with 3 requests at work and 2 idle connections, by 4 workers. */
function row(config: object, sinceUpMs: number, endpoint = ENDPOINT) {
  return serverRow(endpoint, 1, {
    ...{
      service: 'app',
      iid: 2,
      mode: 'http',
      history: new StatHistory(),
      checks: () => undefined,
    },
    ...{ now: 0, wall: UP_SINCE + sinceUpMs, workers: 4 },
    figures: new Figures([
      { family: 'sluice_endpoint_active', labels: LABELS, value: 3 },
      { family: 'sluice_endpoint_idle_connections', labels: LABELS, value: 2 },
    ]),
    config: service.parse({ endpoints: ['127.0.0.1:80'], ...config }),
  });
}

test('the throttle of slow start is told while it lasts', () => {
  const slow = { slowStart: '10s' };
  assert.equal(row(slow, 0).throttle, 10, 'the least that it has');
  assert.equal(row(slow, 4000).throttle, 40);
  assert.equal(row(slow, 10_000).throttle, undefined);
  assert.equal(row({}, 0).throttle, undefined);
  assert.equal(row(slow, 4000, { ...ENDPOINT, check: 'down' }).throttle, undefined);
});

test('connections are told where there is one for each request', () => {
  const told = (config: object) => {
    const { srv_icur, src_ilim, used_conn_cur } = row(config, 0);
    return [srv_icur, src_ilim, used_conn_cur];
  };
  assert.deepEqual(told({ keepAlive: { maxIdle: 8 } }), [2, 32, 3]);
  assert.deepEqual(told({ http: { pipelining: 4 } }), [2, 1024, undefined]);
  assert.deepEqual(told({ protocol: 'h2c' }), [2, undefined, undefined]);
});
