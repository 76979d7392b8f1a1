import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type ClusterTask, KIND } from '../../src/model/cluster.ts';
import {
  ingressPort,
  joinOf,
  networkObject,
  serviceObject,
  taskObject,
  templateObject,
} from '../support/assignment-objects.ts';
import { netnsUnavailable, type Peer, run, until } from '../support/netns.ts';
import { NodeCluster, serving } from '../support/netns-nodes.ts';

const skip = netnsUnavailable();

const ingress = networkObject('ing', { 4096: '10.0.0.0/24' }, { ingress: true });
const app = networkObject('app', { 4097: '10.0.1.0/24', 4098: 'fd00:1::/64' });
const inner = networkObject('inner', { 4099: '10.0.2.0/24' }, { internal: true });

const web = serviceObject(
  'web',
  { app: '10.0.1.2/24', ing: '10.0.0.2/24' },
  {
    vips6: { app: 'fd00:1::2/64' },
    ports: [ingressPort(8080), ingressPort(8080, 80, 'udp')],
    name: 'web',
  },
);

function webTask(
  id: string,
  node: string,
  last: number,
  more: Partial<ClusterTask> = {},
): ClusterTask {
  const template = templateObject({ networks: [joinOf('app', 'www')], container: serving(id) });
  const addresses = { app: `10.0.1.${last}/24`, ing: `10.0.0.${last}/24` };
  const addresses6 = { app: `fd00:1::${last}/64` };
  return taskObject(id, web, node, addresses, { template, addresses6, ...more });
}

describe('the nodes of a cluster, with packets', { skip }, () => {
  let cluster: NodeCluster;
  let client: Peer;
  const eventually = async (what: string, check: () => boolean | Promise<boolean>) => {
    try {
      await until(check);
    } catch {
      throw new Error(`${what}\n${cluster.story}`);
    }
  };
  const container = (id: string) => {
    for (const node of cluster.nodes) {
      for (const one of node.engine.registry.containers) {
        if (one.id === cluster.report(id)?.containerId) return { node, id: one.id };
      }
    }
    throw new Error(`no container of ${id}`);
  };
  const inside = (id: string, ...argv: string[]) => {
    const { node, id: sandbox } = container(id);
    return node.host.inSandbox(sandbox, ...argv);
  };
  const askFrom = async (id: string) => {
    const { node, id: sandbox } = container(id);
    return await node.host.peer(node.host.netns(sandbox));
  };
  const settled = async (...tasks: string[]) => {
    await eventually(`${tasks.join()} serve`, () => cluster.serving(...tasks));
    await cluster.settle();
  };

  before(async () => {
    cluster = await NodeCluster.start(3);
    for (const network of [ingress, app, inner]) await cluster.put(KIND.network, network);
    client = await cluster.net.host(1).peer(cluster.net.client);
  });
  after(() => cluster?.stop());

  test('a port answers on every node, and the task sees the client', async () => {
    await cluster.put(KIND.service, web);
    await cluster.put(KIND.task, webTask('w1', 'n2', 11));
    await cluster.put(KIND.task, webTask('w2', 'n3', 12));
    await settled('w1', 'w2');
    for (const host of [1, 2, 3]) {
      for (const [to, own] of [
        [`192.0.2.1${host}`, '198.51.100.100'],
        [`2001:db8:1::1${host}`, '2001:db8:2::100'],
      ] as const) {
        const seen = new Set<string>();
        for (let n = 0; n < 4; n++) seen.add(await client.tcp(to, 8080));
        assert.deepEqual(
          [...seen].sort(),
          [`w1 ${own}`, `w2 ${own}`],
          `by ${to}\n${cluster.story}`,
        );
        assert.match(await client.udp(to, 8080), new RegExp(`^w[12] ${own}`));
      }
    }
  });

  test('inside: the service by its address of each family, its tasks by names', async () => {
    const peer = await askFrom('w1');
    for (const [vip, own] of [
      ['10.0.1.2', '10.0.1.11'],
      ['fd00:1::2', 'fd00:1::11'],
    ] as const) {
      const seen = new Set<string>();
      for (let n = 0; n < 4; n++) seen.add(await peer.tcp(vip, 80));
      assert.deepEqual([...seen].sort(), [`w1 ${own}`, `w2 ${own}`]);
    }
    const names = cluster.node(2).engine.context.cluster.names.get('app') ?? [];
    const of = (name: string) => names.find((record) => record.name === name)?.addresses;
    assert.deepEqual(of('web'), ['10.0.1.2', 'fd00:1::2']);
    assert.deepEqual(of('tasks.web'), ['10.0.1.11', 'fd00:1::11', '10.0.1.12', 'fd00:1::12']);
  });

  test('a task reaches the outside by the gateway bridge; one of an internal network does not', async () => {
    const outside = await cluster.net.host(1).peer(cluster.net.client);
    await outside.listen('out', 90);
    const peer = await askFrom('w1');
    assert.match(await peer.tcp('198.51.100.100', 90), /^out peer=192\.0\.2\.12$/);
    const back = serviceObject('back', { inner: '10.0.2.2/24' }, { name: 'back' });
    await cluster.put(KIND.service, back);
    const template = templateObject({ networks: [joinOf('inner')], container: serving('b1') });
    await cluster.put(
      KIND.task,
      taskObject('b1', back, 'n1', { inner: '10.0.2.11/24' }, { template }),
    );
    await settled('b1');
    const alone = await askFrom('b1');
    assert.match(await alone.tcp('198.51.100.100', 90, 1500), /^(ENETUNREACH|timeout)$/);
    assert.equal(await alone.tcp('10.0.2.2', 80), 'b1 10.0.2.11');
    assert.doesNotMatch(cluster.node(1).host.onHost('ip', 'link'), /docker_gwbridge/);
  });

  test('an overlay is on a node only while a task there needs it', async () => {
    const overlays = (node: number) =>
      [...cluster.node(node).engine.registry.networks]
        .filter(({ driver }) => driver === 'overlay')
        .map(({ name }) => name);
    const spaces = () =>
      run('ip', 'netns')
        .split('\n')
        .filter((name) => name.startsWith(`${cluster.net.host(1).prefix}.`));
    assert.deepEqual(overlays(1), ['net-inner']);
    assert.equal(spaces().length, 1);
    await cluster.want('b1', 'shutdown');
    await eventually('it has ended', () => cluster.report('b1')?.state === 'shutdown');
    await eventually(
      'the overlay is gone',
      () => overlays(1).length === 0 && spaces().length === 0,
    );
    assert.deepEqual(overlays(2), ['net-app']);
  });

  test('a task that is drained gets nothing new', async () => {
    await cluster.want('w1', 'shutdown');
    await cluster.settle();
    for (let n = 0; n < 6; n++) assert.match(await client.tcp('192.0.2.11', 8080), /^w2 /);
    await eventually('it has ended', () => cluster.report('w1')?.state === 'shutdown');
  });

  test('a daemon that died finds everything; ports and names never went', async () => {
    const node = cluster.node(3);
    node.kill();
    assert.match(await client.tcp('192.0.2.13', 8080), /^w2 /);
    const asks = async () => {
      for (let n = 0; n < 50; n++) assert.match(await client.tcp('192.0.2.11', 8080), /^w2 /);
    };
    await Promise.all([node.start(), asks()]);
    assert.equal(cluster.report('w2')?.state, 'running');
    assert.match(await client.tcp('192.0.2.11', 8080), /^w2 /);
    assert.match(inside('w2', 'ip', '-4', '-o', 'addr'), /10\.0\.1\.12\/24/);
  });

  test('an agent that died finds everything', async () => {
    const { host, engine } = cluster.node(3);
    await host.killAgent();
    assert.match(await client.tcp('192.0.2.12', 8080), /^w2 /);
    await host.startAgent();
    await eventually('names are back', async () => {
      const names = engine.context.cluster.names.get('app') ?? [];
      return names.length > 0 && /^w2 /.test(await client.tcp('192.0.2.13', 8080));
    });
    const more = webTask('w3', 'n3', 13);
    await cluster.put(KIND.task, more);
    await settled('w3');
    assert.match(inside('w3', 'ip', '-4', '-o', 'addr'), /10\.0\.1\.13\/24/);
  });

  test('nothing is served before its check passes', async () => {
    const health = {
      ...{ argv: ['test', '-e', `/tmp/${cluster.net.client}.ok`], shell: false, intervalMs: 200 },
      ...{ timeoutMs: 2000, startPeriodMs: 60_000, startIntervalMs: 200, retries: 3 },
    };
    const template = templateObject({
      networks: [joinOf('app')],
      container: serving('w4', health),
    });
    await cluster.put(KIND.task, webTask('w4', 'n1', 14, { template }));
    await eventually('it starts', () => cluster.report('w4')?.state === 'starting');
    await cluster.settle();
    for (let n = 0; n < 6; n++) assert.doesNotMatch(await client.tcp('192.0.2.12', 8080), /^w4 /);
    run('touch', `/tmp/${cluster.net.client}.ok`);
    await settled('w4');
    run('rm', `/tmp/${cluster.net.client}.ok`);
    const seen = new Set<string>();
    for (let n = 0; n < 6; n++)
      seen.add((await client.tcp('192.0.2.12', 8080)).split(' ')[0] ?? '');
    assert.ok(seen.has('w4'), [...seen].join());
  });

  test('a host that leaves shows nothing of the cluster', async () => {
    const node = cluster.node(3);
    await node.leave();
    const { host, engine } = node;
    await eventually('all of it is gone', () => {
      const links = host.onHost('ip', 'link');
      const spaces = run('ip', 'netns');
      const tables = host.onHost('nft', 'list', 'tables');
      return (
        ![...engine.registry.networks].some(({ scope }) => scope === 'swarm') &&
        !/docker_gwbridge|vxlan/.test(links) &&
        !new RegExp(`^${host.prefix}[.-]`, 'm').test(spaces) &&
        !/mesh/.test(tables)
      );
    });
  });
});
