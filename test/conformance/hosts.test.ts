import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { silentLogger } from '../../src/base/logger.ts';
import { ConsulBackend } from '../../src/store/consul-backend.ts';
import { SharedStore } from '../../src/store/shared-store.ts';
import { noConsul } from '../support/consul.ts';
import { ConsulCluster } from '../support/consul-cluster.ts';
import { eventually } from '../support/gateway.ts';

const [SERVER, AGENT] = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, enter: [] }));

describe('the gossip of Consul', { skip: noConsul, timeout: 120_000 }, () => {
  test('tells of a host whose agent is lost, and that it is back', async (t) => {
    assert.ok(SERVER && AGENT);
    const consul = await ConsulCluster.start([SERVER], [AGENT]);
    t.after(() => consul.close());
    const rest = { prefix: 'p', tls: undefined, token: undefined, leaseMs: 10_000 };
    const backend = new ConsulBackend({ addresses: consul.addresses, ...rest });
    const store = await SharedStore.open(backend, silentLogger);
    t.after(() => store.close());
    let lost: readonly string[] = ['nothing told yet'];
    const end = store.hosts?.watch((addresses) => {
      lost = [...addresses];
    });
    t.after(() => end?.());
    const [agent = ''] = consul.agents;
    await consul.kill(agent);
    await eventually('it is lost', () => lost.join() === AGENT.address, 30_000);
    consul.startMember(agent);
    await eventually('it is back', () => lost.length === 0, 30_000);
  });
});
