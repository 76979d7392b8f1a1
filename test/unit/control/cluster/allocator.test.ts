import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isOver } from '../../../../src/control/cluster/cluster-state.ts';
import { Allocator } from '../../../../src/control/cluster/orchestration/allocator.ts';
import {
  completeNetwork,
  OVERLAY_OPTIONS,
} from '../../../../src/control/cluster/orchestration/network-plan.ts';
import { clashingPort } from '../../../../src/control/cluster/orchestration/ports.ts';
import { overlaps, parseCidr } from '../../../../src/ipam/cidr.ts';
import { aCluster } from '../../../support/cluster-objects.ts';
import {
  aNetwork,
  aPort,
  aTask,
  joining,
  newService,
  StageBench,
} from '../../../support/stage-bench.ts';

async function allocating(...networks: readonly ReturnType<typeof aNetwork>[]) {
  const bench = new StageBench(() => [new Allocator()]);
  await bench.put('cluster', aCluster());
  await bench.put('network', aNetwork('ingress', [], { ingress: true }), ...networks);
  await bench.settle();
  return bench;
}

test('networks get subnets, gateways and VNIs; the first is the ingress network', async () => {
  const bench = await allocating(aNetwork('web'), aNetwork('wide', ['10.0.2.0/23']));
  const [ingress, web, wide] = ['ingress', 'web', 'wide'].map((id) => bench.network(id));
  assert.deepEqual(ingress?.segments, [{ vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1' }]);
  assert.deepEqual(web?.segments, [{ vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }]);
  assert.deepEqual(wide?.segments, [{ vni: 4098, subnet: '10.0.2.0/23', gateway: '10.0.2.1' }]);
  const block = { ipRange: undefined, gateway: '10.0.1.1', auxAddresses: {} };
  assert.deepEqual(web?.spec.ipam.blocks, [{ subnet: '10.0.1.0/24', ...block }]);
  await bench.put('network', aNetwork('next'));
  await bench.settle();
  assert.equal(bench.network('next').segments[0]?.subnet, '10.0.4.0/24');
});

test('a network with several subnets and IPv6 has an IPv6 subnet for each', async () => {
  const asked = aNetwork('both', ['192.168.1.0/25', '192.170.2.0/25'], { ipv6: true });
  const bench = await allocating(asked, aNetwork('six', [], { ipv4: false, ipv6: true }));
  const { segments } = bench.network('both');
  assert.equal(segments.length, 4);
  assert.equal(segments.filter(({ subnet }) => subnet.endsWith('/64')).length, 2);
  const service = newService('s', { template: joining(['both', 'six']) });
  await bench.put('service', service);
  await bench.put('task', aTask('t', service));
  await bench.settle();
  const { addresses, addresses6 } = bench.task('t');
  assert.match(addresses['both'] ?? '', /^192\.168\.1\.2\/25$/);
  assert.match(addresses6?.['both'] ?? '', /^fd.*\/64$/);
  assert.match(addresses['six'] ?? '', /^fd.*\/64$/);
  assert.equal(addresses6?.['six'], undefined);
  const { vips, vips6 } = bench.service('s');
  assert.match(vips['both'] ?? '', /^192\.168\.1\.126\/25$/);
  assert.match(vips6?.['both'] ?? '', /^fd.*\/64$/);
});

test('VNIs are the ones asked for, or serial; they come back with their network', async () => {
  const options = { [OVERLAY_OPTIONS.vnis]: '5000,5001' };
  const bench = await allocating(aNetwork('a', ['10.9.0.0/24', '10.9.1.0/24'], { options }));
  assert.deepEqual(
    bench.network('a').segments.map(({ vni }) => vni),
    [5000, 5001],
  );
  await bench.put('network', aNetwork('b', [], { options: { [OVERLAY_OPTIONS.vnis]: '5001' } }));
  await bench.settle();
  assert.deepEqual(bench.network('b').segments, []);
  const service = newService('s', { template: joining(['b']) });
  await bench.put('service', service);
  await bench.put('task', aTask('t', service));
  await bench.settle();
  assert.match(
    bench.task('t').report.error,
    /network b has no subnet: .*no VNI 5001: it is in use/,
  );
  await bench.remove('network', 'a');
  await bench.settle();
  assert.equal(bench.network('b').segments[0]?.vni, 5001);
  assert.equal(bench.task('t').report.state, 'pending');
  assert.throws(
    () =>
      completeNetwork(
        aNetwork('c', [], { options: { [OVERLAY_OPTIONS.vnis]: '0' } }),
        [],
        aCluster(),
      ),
    /no VNI 0: it is not from 1 to 16777215/,
  );
});

test('what a network asks for that another has is told', () => {
  const taken = completeNetwork(aNetwork('a', ['10.1.0.0/16']), [], aCluster());
  assert.throws(
    () => completeNetwork(aNetwork('b', ['10.1.5.0/24']), [taken], aCluster()),
    /Pool overlaps with other one on this address space/,
  );
  const small = { ...aCluster(), addressPools: ['10.1.0.0/24'] };
  assert.throws(
    () => completeNetwork(aNetwork('b'), [taken], small),
    /all predefined address pools have been fully subnetted/,
  );
});

test('a service has an address in each of its networks, until it leaves or resolves by tasks', async () => {
  const bench = await allocating(aNetwork('a'), aNetwork('b'));
  const service = newService('s', { template: joining(['a', 'b']), ports: [aPort(80, 8080)] });
  await bench.put('service', service);
  await bench.settle();
  const { vips } = bench.service('s');
  assert.deepEqual(vips, { a: '10.0.1.254/24', b: '10.0.2.254/24', ingress: '10.0.0.254/24' });
  const change = async (spec: Parameters<typeof newService>[1]) => {
    await bench.put('service', { ...bench.service('s'), spec: newService('s', spec).spec });
    await bench.settle();
    return bench.service('s').vips;
  };
  const { a } = vips;
  assert.deepEqual(await change({ template: joining(['a']) }), { a });
  assert.deepEqual(await change({ template: joining(['a']), resolution: 'dnsrr' }), {});
  await bench.put('service', newService('other', { template: joining(['b']) }));
  await bench.settle();
  assert.equal(bench.service('other').vips['b'], '10.0.2.253/24');
});

test('ports that nobody chose are dynamic and stay over updates', async () => {
  const bench = await allocating();
  await bench.put(
    'service',
    newService('s', { ports: [aPort(80), aPort(53, 0), aPort(443, 443)] }),
  );
  await bench.put('service', newService('early', { ports: [aPort(1, 30_000)] }));
  await bench.settle();
  const numbers = (id: string) => bench.service(id).ports.map((port) => port.publishedPort);
  assert.deepEqual(numbers('s'), [30_001, 30_002, 443]);
  assert.deepEqual(numbers('early'), [30_000]);
  const udp = aPort(53, undefined, { transport: 'udp' });
  const host = aPort(9, undefined, { mode: 'host' });
  const { spec } = newService('s', { ports: [aPort(8), udp, aPort(53), aPort(80), host] });
  await bench.put('service', { ...bench.service('s'), spec });
  await bench.settle();
  assert.deepEqual(numbers('s'), [30_003, 30_000, 30_002, 30_001, undefined]);
  await bench.put('service', newService('takes', { ports: [aPort(443, 443)] }));
  await bench.settle();
  assert.deepEqual(numbers('takes'), [443]);
});

test('two services that got past the check at once: the second waits and says so', async () => {
  const bench = await allocating();
  const services = ['a', 'b'].map((id) => newService(id, { ports: [aPort(80, 8080), aPort(81)] }));
  await bench.put('service', ...services);
  for (const service of services) await bench.put('task', aTask(`t-${service.id}`, service));
  await bench.settle();
  bench.lead();
  await bench.settle();
  assert.equal(bench.service('a').ports.length, 2);
  assert.equal(bench.service('b').ports.length, 1);
  assert.equal(bench.task('t-a').report.state, 'pending');
  const { state, message } = bench.task('t-b').report;
  assert.equal(state, 'new');
  assert.equal(message, `port '8080' is already in use by service 'a' (a) as an ingress port`);
  await bench.remove('service', 'a');
  await bench.settle();
  assert.equal(bench.service('b').ports[0]?.publishedPort, 8080);
  assert.equal(bench.task('t-b').report.state, 'pending');
});

test('ports that clash are told as the engine words it; host mode clashes with the mesh only', () => {
  const mesh = { ...newService('a', { ports: [aPort(80)] }), ports: [aPort(80, 30_000)] };
  const host = newService('h', { ports: [aPort(53, 53, { mode: 'host', transport: 'udp' })] });
  const check = (...ports: ReturnType<typeof aPort>[]) =>
    clashingPort([mesh, host], { ports }, 'x');
  assert.equal(
    check(aPort(1, 30_000)),
    "port '30000' is already in use by service 'a' (a) as an ingress port",
  );
  assert.match(check(aPort(1, 30_000, { mode: 'host' })) ?? '', /as an ingress port/);
  assert.match(check(aPort(1, 53, { transport: 'udp' })) ?? '', /as a host-published port/);
  assert.equal(check(aPort(1, 53), aPort(2)), undefined);
  assert.equal(check(aPort(1, 53, { transport: 'udp', mode: 'host' })), undefined);
  assert.equal(clashingPort([mesh], { ports: [aPort(1, 30_000)] }, 'a'), undefined);
});

test('tasks wait for what they need, say why, and go on when it is there', async () => {
  const bench = await allocating();
  const service = newService('s', { template: joining(['late']) });
  const tasks = ['t1', 't2', 't3', 't4', 't5'].map((id) => aTask(id, service));
  await bench.put('service', service);
  await bench.put('task', ...tasks);
  await bench.settle();
  assert.equal(bench.task('t1').report.error, 'network late not found');
  await bench.put('network', aNetwork('late', ['10.7.0.0/29']));
  await bench.settle();
  const states = () => tasks.map(({ id }) => bench.task(id).report.state);
  assert.deepEqual(states(), ['pending', 'pending', 'pending', 'pending', 'new']);
  assert.deepEqual(bench.task('t1').addresses, { late: '10.7.0.2/29' });
  const full = "no available IPv4 addresses on this network's address pools: late (late)";
  assert.equal(bench.task('t5').report.message, full);
  const { version } = bench.view.tasks.get('t5') ?? {};
  await bench.put('task', { ...bench.task('t2'), report: { ...bench.task('t2').report, pid: 1 } });
  await bench.settle();
  assert.equal(bench.view.tasks.get('t5')?.version, version);
  const ended = { ...bench.task('t2').report, state: 'failed' as const };
  await bench.put('task', { ...bench.task('t2'), report: ended });
  await bench.settle();
  assert.deepEqual(states(), ['pending', 'failed', 'pending', 'pending', 'pending']);
  assert.deepEqual(bench.task('t5').addresses, bench.task('t2').addresses);
  assert.equal(bench.task('t5').report.error, '');
});

test('host networks and networks of other drivers need no address of the cluster', async () => {
  const bench = await allocating(aNetwork('lan', [], { driver: 'macvlan' }));
  const service = newService('s', { template: joining(['lan']) });
  await bench.put('service', service);
  await bench.put('task', aTask('t', service));
  await bench.settle();
  assert.equal(bench.task('t').report.state, 'pending');
  assert.deepEqual(bench.task('t').addresses, {});
  assert.deepEqual(bench.network('lan').segments, []);
});

test('an ingress network that an operator removes stays away; another one takes its place', async () => {
  const bench = await allocating();
  const service = newService('s', { ports: [aPort(80, 8080)] });
  await bench.put('service', service);
  await bench.settle();
  await bench.remove('network', 'ingress');
  await bench.put('task', aTask('t', service));
  await bench.settle();
  assert.deepEqual(bench.service('s').vips, {});
  const missing = 'service needs ingress network, but no ingress network is present';
  assert.equal(bench.task('t').report.error, missing);
  await bench.put('network', aNetwork('my-ingress', ['10.11.0.0/16'], { ingress: true }));
  await bench.settle();
  assert.deepEqual(bench.service('s').vips, { 'my-ingress': '10.11.255.254/16' });
  assert.deepEqual(bench.task('t').addresses, { 'my-ingress': '10.11.0.2/16' });
});

test('five thousand endpoints on one network', async (t) => {
  const bench = await allocating(aNetwork('big', ['10.20.0.0/16']));
  const service = newService('s', { template: joining(['big']) });
  await bench.put('service', service);
  const tasks = Array.from({ length: 5000 }, (_, index) => aTask(`t${index}`, service));
  bench.show('task', tasks);
  const { tasks: given, ms } = bench.planAnew(new Allocator());
  t.diagnostic(`planned in ${ms} ms`);
  assert(given.every(({ report }) => report.state === 'pending'));
  const addresses = given.map((task) => task.addresses['big']);
  assert.equal(new Set(addresses).size, 5000);
  bench.show('task', given);
  const again = bench.planAnew(new Allocator());
  assert.deepEqual(again.tasks, []);
  t.diagnostic(`taken over by another leader in ${again.ms} ms`);
});

type Step = { readonly kind: number; readonly a: number; readonly b: number };

const NETWORK_SHAPES = [
  ['10.0.3.0/28'],
  ['10.0.4.0/29'],
  [],
  ['10.50.0.0/29', '10.51.0.0/29'],
  ['10.0.0.0/16'],
];

async function stir(bench: StageBench, { kind, a, b }: Step, step: number): Promise<void> {
  const { view } = bench;
  const pick = <T>(map: ReadonlyMap<string, T>) => [...map.values()][a % Math.max(1, map.size)];
  const networks = [...view.networks.keys()].filter((_, index) => (b >> index) & 1);
  const ports = [aPort(80), aPort(81, 8000 + (b % 3))].slice(0, a % 3);
  const resolution = b % 5 === 0 ? 'dnsrr' : 'vip';
  const spec = { template: joining(networks), ports, resolution } as const;
  const task = pick(view.tasks)?.value;
  const service = pick(view.services)?.value;
  if (kind === 0) {
    const shape = NETWORK_SHAPES[a % NETWORK_SHAPES.length];
    await bench.put('network', aNetwork(`n${step}`, shape, { ipv6: b % 2 === 0 }));
  } else if (kind === 1) await bench.put('service', newService(`s${step}`, spec));
  else if (kind === 2 && service) {
    await bench.put('service', { ...service, spec: newService('', spec).spec });
  } else if (kind === 3 && task) {
    await bench.put('task', { ...task, report: { ...task.report, state: 'complete' } });
  } else if (kind === 4 && task) await bench.remove('task', task.id);
  else if (kind === 5 && service) await bench.remove('service', service.id);
  else if (kind === 6) {
    const used = new Set(
      [...view.tasks.values()].flatMap((one) => Object.keys(one.value.addresses)),
    );
    const unused = [...view.networks.keys()].filter((id) => !used.has(id));
    const id = unused[a % Math.max(1, unused.length)];
    if (id !== undefined) await bench.remove('network', id);
  } else if (service) {
    for (let more = 0; more < 4; more++)
      await bench.put('task', aTask(`t${step}-${more}`, service));
  }
}

function once(values: readonly string[], what: string): void {
  const seen = new Set<string>();
  for (const value of values) {
    assert(!seen.has(value), `${what} ${value} is given twice`);
    seen.add(value);
  }
}

function checkUnique({ view }: StageBench): void {
  const [networks, services, tasks] = [view.networks, view.services, view.tasks].map((map) =>
    [...map.values()].map(({ value }) => value),
  ) as unknown as [
    ReturnType<typeof aNetwork>[],
    ReturnType<typeof newService>[],
    ReturnType<typeof aTask>[],
  ];
  const segments = networks.flatMap((one) => one.segments);
  once(
    segments.map(({ vni }) => String(vni)),
    'VNI',
  );
  const blocks = segments.flatMap(({ subnet }) => parseCidr(subnet) ?? []);
  for (const [index, block] of blocks.entries()) {
    for (const other of blocks.slice(index + 1)) assert(!overlaps(block, other));
  }
  const live = tasks.filter((task) => !isOver(task.report.state));
  const records = [
    ...live.flatMap(({ addresses, addresses6 = {} }) => [addresses, addresses6]),
    ...services.flatMap(({ vips, vips6 = {} }) => [vips, vips6]),
  ];
  const gateways = segments.map(({ gateway, subnet }) => `${gateway}/${subnet.split('/')[1]}`);
  once([...gateways, ...records.flatMap((record) => Object.values(record))], 'address');
  const ports = services.flatMap((one) => one.ports.filter(({ mode }) => mode === 'ingress'));
  once(
    ports.map(({ transport, publishedPort }) => `${transport}/${publishedPort}`),
    'port',
  );
}

test('nothing is ever given twice, whatever happens, whoever leads, whatever is lost', async () => {
  const step = fc.record({ kind: fc.nat(9), a: fc.nat(100), b: fc.nat(1000), lost: fc.nat(5) });
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const bench = await allocating();
    for (const [index, one] of steps.entries()) {
      await stir(bench, one, index);
      if (one.b % 7 === 0) bench.lead();
      if (one.b % 3 === 0) await bench.overlap();
      let left = one.lost;
      if (one.a % 4 !== 0) await bench.settle(() => left-- <= 0);
      checkUnique(bench);
    }
    await bench.settle();
    bench.lead();
    await bench.settle();
    checkUnique(bench);
    for (const { value } of bench.view.tasks.values()) {
      if (value.report.state !== 'new') continue;
      assert.notEqual(value.report.error, '', `${value.id} waits without a reason`);
    }
    await bench.store.close();
  });
  await fc.assert(property, { numRuns: 200 });
});

test('tasks that gateways reach have an address in the mesh without a port', async () => {
  const bench = await allocating();
  const labels = { 'com.docker.lb.hosts': 'a.example', 'com.docker.lb.port': '80' };
  const service = { ...newService('s'), labels };
  await bench.put('service', service);
  await bench.put('task', { ...aTask('t', service), meshed: true }, aTask('plain', service));
  await bench.settle();
  assert.match(bench.task('t').addresses['ingress'] ?? '', /^10\.0\.0\.\d+\/24$/);
  assert.deepEqual(bench.task('plain').addresses, {});
  assert.deepEqual(bench.service('s').vips, {}, 'nobody asks for the address of the service');
});
