import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawTop, type Moment, readSamples } from '../../../src/cli/top.ts';

function moment(at: number, requests: number): Moment {
  const text = `# TYPE sluice_listener_requests_total counter
sluice_listener_connections_total{listener="web"} 3
sluice_listener_requests_total{listener="web",code="2xx"} ${requests}
sluice_listener_requests_total{listener="web",code="5xx"} 1
sluice_listener_requests_total{listener="web-2",code="2xx"} 99999
sluice_event_loop_lag_seconds 0.012
`;
  return {
    at,
    status: {
      version: '1',
      pid: 1,
      startedAt: '',
      generation: 4,
      ready: true,
      workers: [],
      agentConnected: undefined,
    },
    services: [{ name: 'app', staleSeconds: 0, endpoints: [] }],
    samples: readSamples(text),
  };
}

test('top draws rates since the look before', () => {
  const text = drawTop(moment(3000, 2500), moment(1000, 500));
  assert.match(text, /longest stall 12 ms/);
  assert.match(text, /^web +0 +1\.0K +0 +0 +0$/m);
  assert.match(drawTop(moment(0, 5), undefined), /^web +0 +- +- +- +-$/m);
});
