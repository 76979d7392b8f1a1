import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { keepCatalog } from '../../src/control/cluster/catalog.ts';
import { ConsulBackend } from '../../src/store/consul-backend.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import { SharedStore } from '../../src/store/shared-store.ts';
import { ConsulServer, noConsul } from '../support/consul.ts';
import { eventually, freePorts } from '../support/gateway.ts';

type Instance = { ServiceID: string; ServiceAddress: string; ServicePort: number; Node: string };

const node = (id: string, address: string) => ({ id, address, status: 'ready' });
const WEB = {
  id: 'web-id',
  name: 'web',
  ports: [
    { name: '', transport: 'tcp', targetPort: 80, publishedPort: 8080, mode: 'ingress' },
    { name: '', transport: 'tcp', targetPort: 81, publishedPort: undefined, mode: 'host' },
  ],
};
const task = (id: string, nodeId: string, serving: boolean) => ({
  ...{ id, nodeId, serviceId: WEB.id },
  report: {
    serving,
    hostPorts: [
      { name: '', transport: 'tcp', targetPort: 81, publishedPort: 31_000, mode: 'host' },
    ],
  },
});
const put = (kind: string, value: { id: string }): Change => ({ kind, id: value.id, value });

describe('the catalog of Consul', { skip: noConsul, timeout: 120_000 }, () => {
  test('has the ports of tasks that serve, and what others put there stays', async (t) => {
    const server = new ConsulServer(await freePorts(4));
    await server.start();
    t.after(() => server.kill());
    const at = `127.0.0.1:${server.http}`;
    const instances = async (service: string) => {
      const answer = await fetch(`http://${at}/v1/catalog/service/${service}`);
      // exempt(as): the shape is the documented one
      const all = (await answer.json()) as Instance[];
      return all
        .map((one) => `${one.Node} ${one.ServiceAddress}:${one.ServicePort} ${one.ServiceID}`)
        .sort();
    };
    const options = { addresses: [at], prefix: 'p', tls: undefined, token: undefined };
    const store = await SharedStore.open(
      new ConsulBackend({ ...options, leaseMs: 10_000 }),
      silentLogger,
    );
    t.after(() => store.close());
    const { catalog } = store;
    assert.ok(catalog);
    await server.register('others', 1234);
    await store.update([
      put('cluster', { id: 'the-cluster' }),
      put('node', node('n1', '192.0.2.11')),
      put('node', node('n2', '192.0.2.12')),
      put('service', WEB),
      put('task', task('t1', 'n1', true)),
      put('task', task('t2', 'n2', false)),
    ]);
    const clock = new ManualClock();
    const end = keepCatalog(store, catalog, { clock, logger: silentLogger });
    const shows = (expected: readonly string[]) =>
      eventually(`the catalog shows ${expected.join()}`, async () => {
        clock.advance(600);
        return JSON.stringify(await instances('web')) === JSON.stringify(expected);
      });
    const first = [
      'sluice-n1 192.0.2.11:31000 t1:tcp:31000',
      'sluice-n1 192.0.2.11:8080 t1:tcp:8080',
    ];
    const second = first.map((one) =>
      one.replaceAll(/n1|t1/g, (m) => `${m[0]}2`).replace('.11', '.12'),
    );
    await shows(first);
    await store.update([put('task', task('t2', 'n2', true))]);
    await shows([...first, ...second]);
    await store.update([put('node', { ...node('n1', '192.0.2.11'), status: 'down' } as never)]);
    await shows(second);
    await fetch(`http://${at}/v1/catalog/deregister`, {
      method: 'PUT',
      body: JSON.stringify({ Node: 'sluice-n2', ServiceID: 't2:tcp:8080' }),
    });
    clock.advance(60_000);
    await shows(second);
    assert.equal((await instances('app')).length, 1);
    await store.update([{ kind: 'service', id: WEB.id, value: undefined }]);
    await shows([]);
    assert.equal((await instances('app')).length, 1);
    end();
  });
});
