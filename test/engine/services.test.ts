import assert from 'node:assert/strict';
import { test } from 'node:test';
import { servicesOf } from '../../src/control/cluster/cluster-state.ts';
import { NO_REPORT } from '../../src/control/cluster/report.ts';
import { type ClusterService, type ClusterTask, KIND } from '../../src/model/cluster.ts';
import { edit } from '../../src/store/edit.ts';
import type { Store } from '../../src/store/store.ts';
import { serveEngine } from '../support/engine.ts';
import { FakeAgent } from '../support/fake-agent.ts';
import { freePorts } from '../support/gateway.ts';

type Scope = Parameters<typeof serveEngine>[0];
/** Answers are looked into as clients do. */
type Json = ReturnType<typeof JSON.parse>;

const serviceIn = (store: Store, wanted: string) =>
  servicesOf(store).find(({ value }) => value.id === wanted)?.value;

async function swarm(t: Scope) {
  const [port = 0] = await freePorts(1);
  const { member, call } = await serveEngine(t, new FakeAgent(), port);
  const ask = async (method: string, path: string, body?: unknown): Promise<Json> => {
    const { status, body: answer } = await call(method, path, body);
    assert.ok(status < 300, `${method} ${path}: ${status} ${JSON.stringify(answer)}`);
    return answer;
  };
  const refused = async (status: number, text: RegExp, ...order: Parameters<typeof call>) => {
    const reply = await call(...order);
    assert.equal(reply.status, status, JSON.stringify(reply.body));
    assert.match((reply.body as { message: string }).message, text);
  };
  await ask('POST', '/swarm/init', { ListenAddr: `127.0.0.1:${port}` });
  const { store } = member.needManager();
  return { ask, refused, store, member };
}

const spec = (more: Json = {}, container: Json = {}, template: Json = {}) => ({
  ...{ Name: 'web', Labels: { tier: 'front' } },
  TaskTemplate: { ContainerSpec: { Image: 'host', Args: ['sleep'], ...container }, ...template },
  ...more,
});

test('a service is shown as it was asked for, complete, in the usual spelling', async (t) => {
  const { ask } = await swarm(t);
  const { Id } = await ask('POST', '/networks/create', { Name: 'net', Driver: 'overlay' });
  const { ID, Warnings } = await ask('POST', '/services/create', {
    name: 'web',
    taskTemplate: {
      containerSpec: { image: 'host', labels: { image: 'kept' } },
      networks: [{ target: 'net', aliases: ['w'] }],
    },
    mode: { replicated: {} },
  });
  assert.deepEqual(Warnings, []);
  const { Spec, PreviousSpec, Endpoint } = await ask('GET', `/services/${ID}`);
  assert.deepEqual(Spec, {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Image: 'host', Labels: { image: 'kept' } },
      Networks: [{ Target: Id, Aliases: ['w'] }],
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: 1 } },
    EndpointSpec: { Mode: 'vip' },
  });
  assert.equal(PreviousSpec, undefined);
  assert.deepEqual(Endpoint, { Spec: { Mode: 'vip' } });
  const full = await ask('GET', `/services/web?insertDefaults=true`);
  assert.equal(full.Spec.UpdateConfig.Monitor, 5e9);
  assert.equal(full.Spec.TaskTemplate.ContainerSpec.StopGracePeriod, 1e10);
});

test('networks beside the template, as clients of old name them, are the same', async (t) => {
  const { ask } = await swarm(t);
  const { Id } = await ask('POST', '/networks/create', { Name: 'net', Driver: 'overlay' });
  await ask('POST', '/services/create', spec({ Networks: [{ Target: 'net' }] }));
  const { Spec } = await ask('GET', '/services/web');
  assert.deepEqual(Spec.TaskTemplate.Networks, [{ Target: Id }]);
  assert.equal(Spec.Networks, undefined);
});

test('only what tasks are made of makes another version of them', async (t) => {
  const { ask, refused, store } = await swarm(t);
  const { ID } = await ask('POST', '/services/create', spec());
  const versionOf = async () => (await ask('GET', `/services/${ID}`)).Version.Index;
  const change = async (body: unknown, rollback = '') =>
    ask('POST', `/services/${ID}/update?version=${await versionOf()}${rollback}`, body);
  const made = () => serviceIn(store, ID)?.specVersion;
  await change(spec({ Mode: { Replicated: { Replicas: 3 } } }));
  assert.equal(made(), 1);
  await change(spec({ Labels: { other: '1' } }, { Args: ['sleep', '5'] }));
  assert.equal(made(), 2);
  assert.equal(serviceIn(store, ID)?.progress, undefined);
  await change(spec(), '&rollback=previous');
  assert.equal(made(), 3);
  const { Spec, PreviousSpec, UpdateStatus } = await ask('GET', `/services/${ID}`);
  assert.deepEqual(Spec.Labels, { tier: 'front' });
  assert.equal(Spec.Mode.Replicated.Replicas, 3);
  assert.deepEqual(PreviousSpec.Labels, { other: '1' });
  assert.equal(UpdateStatus.State, 'rollback_started');
  const stale = `/services/${ID}/update?version=${(await versionOf()) - 1}`;
  await refused(500, /desc = update out of sequence/, 'POST', stale, spec());
  const now = `/services/${ID}/update?version=${await versionOf()}`;
  await refused(
    501,
    /service mode change is not allowed/,
    'POST',
    now,
    spec({ Mode: { Global: {} } }),
  );
  await refused(501, /renaming services is not supported/, 'POST', now, spec({ Name: 'other' }));
  await refused(400, /invalid version/, 'POST', `/services/${ID}/update`, spec());
});

test('a specification that cannot be carried out is refused before it is stored', async (t) => {
  const { ask, refused } = await swarm(t);
  const create = (status: number, text: RegExp, body: unknown) =>
    refused(status, text, 'POST', '/services/create', body);
  await create(400, /image reference must be provided/, spec({}, { Image: '' }));
  await create(
    400,
    /must specify only one service mode/,
    spec({ Mode: { Global: {}, Replicated: {} } }),
  );
  await create(400, /number of replicas -1/, spec({ Mode: { Replicated: { Replicas: -1 } } }));
  await create(
    400,
    /number of replicas 1000000000/,
    spec({ Mode: { Replicated: { Replicas: 1e9 } } }),
  );
  const jobs = /update and rollback configuration is not supported for jobs/;
  await create(400, jobs, spec({ Mode: { GlobalJob: {} }, RollbackConfig: { Parallelism: 1 } }));
  await create(
    400,
    /number of concurrent tasks -1/,
    spec({ Mode: { ReplicatedJob: { MaxConcurrent: -1 } } }),
  );
  const mount = { Type: 'bind', Source: '/a', Target: '/b' };
  await create(400, /duplicate mount point: \/b/, spec({}, { Mounts: [mount, mount] }));
  await create(
    400,
    /invalid RestartCondition/,
    spec({}, {}, { RestartPolicy: { Condition: 'x' } }),
  );
  await create(
    400,
    /restart-delay cannot be negative/,
    spec({}, {}, { RestartPolicy: { Delay: -1 } }),
  );
  await create(
    400,
    /unrecognized update failure action/,
    spec({ UpdateConfig: { FailureAction: 'x' } }),
  );
  const secret = { SecretID: 'x', SecretName: 's', File: { Name: 'a' } };
  await create(400, /secret not found: s/, spec({}, { Secrets: [secret] }));
  await create(400, /conflicting target: 'a'/, spec({}, { Secrets: [secret, secret] }));
  await create(400, /malformed config reference/, spec({}, { Configs: [{ ConfigID: 'x' }] }));
  await create(501, /no plugins/, spec({}, {}, { PluginSpec: { Name: 'x' } }));
  const port = { TargetPort: 80, PublishedPort: 8080 };
  const ports = (...Ports: unknown[]) => spec({ EndpointSpec: { Ports } });
  await create(400, /duplicate published ports provided/, ports(port, port));
  await create(400, /ports are 1 to 65535/, ports({ TargetPort: 0 }));
  await create(400, /invalid protocol value "icmp"/, ports({ ...port, Protocol: 'icmp' }));
  await create(
    404,
    /network nowhere not found/,
    spec({}, {}, { Networks: [{ Target: 'nowhere' }] }),
  );
  await create(
    403,
    /The network mine cannot be used with services/,
    await ask('POST', '/networks/create', { Name: 'mine' }).then(() =>
      spec({}, {}, { Networks: [{ Target: 'mine' }] }),
    ),
  );
  assert.deepEqual(await ask('GET', '/services'), []);
});

test('two that ask for one name at the same moment: one gets it', async (t) => {
  const { ask, member } = await swarm(t);
  const orders = Array.from({ length: 5 }, () => ask('POST', '/services/create', spec()));
  const settled = await Promise.allSettled(orders);
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1);
  const data = { Name: 's', Data: Buffer.from('x').toString('base64') };
  const secrets = [1, 2].map(() => ask('POST', '/secrets/create', data));
  const made = (await Promise.allSettled(secrets)).filter(({ status }) => status === 'fulfilled');
  assert.equal(made.length, 1);
  await ask('DELETE', '/services/web');
  await ask('POST', '/services/create', spec());
  assert.ok(member.manager);
});

test('tasks are listed by service, node, state and version; the service counts them', async (t) => {
  const { ask, refused, store, member } = await swarm(t);
  const { ID } = await ask(
    'POST',
    '/services/create',
    spec({ Mode: { Replicated: { Replicas: 2 } } }),
  );
  const nodeId = member.membership?.nodeId ?? '';
  const service = serviceIn(store, ID);
  assert.ok(service);
  const put = (id: string, more: Partial<ClusterTask>) => {
    const value: ClusterTask = {
      ...{ id, name: `web.1.${id}`, labels: {}, created: '', updated: '', serviceId: ID, slot: 1 },
      ...{ nodeId, specVersion: 1, template: service.spec.template, ports: [], addresses: {} },
      ...{ desired: 'running', report: { ...NO_REPORT, state: 'running', containerId: 'c' } },
      ...more,
    };
    return store.update([{ kind: KIND.task, id, value, expected: 0 }]);
  };
  await put('t1', {});
  const before = { ...service.spec.template, forceUpdate: 1 };
  const failed = { ...NO_REPORT, state: 'failed' } as const;
  await put('t2', { desired: 'shutdown', template: before, report: failed });
  await put('t3', {
    nodeId: '',
    report: { ...NO_REPORT, state: 'pending', error: 'no suitable node' },
  });
  const list = async (filters: Record<string, string[]>) => {
    const query = encodeURIComponent(JSON.stringify(filters));
    const tasks: { ID: string }[] = await ask('GET', `/tasks?filters=${query}`);
    return tasks.map((task) => task.ID).join();
  };
  assert.equal(await list({}), 't1,t2,t3');
  assert.equal(await list({ service: ['web'] }), 't1,t2,t3');
  assert.equal(await list({ node: [nodeId] }), 't1,t2');
  assert.equal(await list({ 'desired-state': ['running'] }), 't1,t3');
  assert.equal(await list({ '_up-to-date': ['true'] }), 't1,t3');
  assert.equal(await list({ label: ['tier=front'] }), 't1,t2,t3');
  assert.equal(await list({ label: ['tier=back'] }), '');
  assert.equal(await list({ name: ['web.1.t2'] }), 't2');
  const pending = await ask('GET', '/tasks/t3');
  assert.deepEqual([pending.NodeID, pending.Status.Err], [undefined, 'no suitable node']);
  assert.equal((await ask('GET', '/tasks/t1')).Status.ContainerStatus.ContainerID, 'c');
  const [network] = await ask('GET', '/networks?filters={"name":["ingress"]}');
  await put('t4', { addresses: { [network.Id]: '10.0.0.9/24' } });
  const [attachment] = (await ask('GET', '/tasks/t4')).NetworksAttachments;
  assert.deepEqual(attachment.Addresses, ['10.0.0.9/24']);
  assert.deepEqual(attachment.Network.IPAMOptions, { Driver: { Name: 'default' }, Configs: [] });
  await store.update([{ kind: KIND.task, id: 't4', value: undefined }]);
  await refused(404, /task t9 not found/, 'GET', '/tasks/t9');
  await refused(404, /service nobody not found/, 'GET', '/tasks?filters={"service":["nobody"]}');
  const [counted] = await ask('GET', '/services?status=true');
  assert.deepEqual(counted.ServiceStatus, { RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 0 });
});

test('what was allocated is shown beside what was asked for', async (t) => {
  const { ask, store } = await swarm(t);
  const port = { Protocol: 'tcp', TargetPort: 80, PublishMode: 'ingress' };
  const { ID } = await ask('POST', '/services/create', spec({ EndpointSpec: { Ports: [port] } }));
  const given = {
    name: '',
    transport: 'tcp',
    targetPort: 80,
    publishedPort: 30000,
    mode: 'ingress',
  } as const;
  await edit<ClusterService>(store, KIND.service, ID, (service) => ({
    ...service,
    ...{ ports: [given], vips: { net: '10.0.1.2/24' }, vips6: { net: 'fd00::2/64' } },
  }));
  const { Endpoint } = await ask('GET', `/services/${ID}`);
  assert.deepEqual(Endpoint.Spec, { Mode: 'vip', Ports: [port] });
  assert.deepEqual(Endpoint.Ports, [{ ...port, PublishedPort: 30000 }]);
  assert.deepEqual(Endpoint.VirtualIPs, [
    { NetworkID: 'net', Addr: '10.0.1.2/24' },
    { NetworkID: 'net', Addr: 'fd00::2/64' },
  ]);
});

test('a secret is kept sealed; its data is neither shown nor changed', async (t) => {
  const { ask, refused, store } = await swarm(t);
  const Data = Buffer.from('a secret of mine').toString('base64');
  const { ID } = await ask('POST', '/secrets/create', { Name: 's1', Data, Labels: { a: '1' } });
  assert.doesNotMatch(JSON.stringify(store.list(KIND.file)), new RegExp(Data));
  const shown = await ask('GET', '/secrets/s1');
  assert.deepEqual(shown.Spec, { Name: 's1', Labels: { a: '1' } });
  const change = `/secrets/${ID}/update?version=${shown.Version.Index}`;
  await refused(400, /only updates to Labels/, 'POST', change, { Name: 's1', Data: 'b3RoZXI=' });
  await ask('POST', change, { Name: 's1', Data, Labels: { b: '2' } });
  assert.deepEqual((await ask('GET', '/secrets/s1')).Spec.Labels, { b: '2' });
  await refused(500, /out of sequence/, 'POST', change, { Name: 's1', Labels: {} });
  await refused(404, /config s1 not found/, 'GET', '/configs/s1');
  await refused(400, /not base 64/, 'POST', '/secrets/create', { Name: 's2', Data: '%' });
});

test('labels for gateways are checked, and their secrets are held', async (t) => {
  const { ask, refused } = await swarm(t);
  const lb = (labels: Record<string, string>) => ({
    Labels: Object.fromEntries(
      Object.entries(labels).map(([key, value]) => [`com.docker.lb.${key}`, value]),
    ),
  });
  const create = (labels: Record<string, string>) =>
    ['POST', '/services/create', spec(lb(labels))] as const;
  const host = { hosts: 'app.example' };
  await refused(
    400,
    /label com\.docker\.lb\.port is missing: the service publishes no TCP port/,
    ...create(host),
  );
  await refused(
    400,
    /com\.docker\.lb\.hosts: "a b" is not a host name/,
    ...create({ hosts: 'a b', port: '80' }),
  );
  const pair = { ...host, port: '80', ssl_cert: 'cert', ssl_key: 'key' };
  await refused(400, /secret not found: cert; secret not found: key/, ...create(pair));
  const secret = (Name: string, text: string) =>
    ask('POST', '/secrets/create', { Name, Data: Buffer.from(text).toString('base64') });
  await secret('cert', 'none');
  await secret('key', 'none');
  await refused(400, /secret cert is not a PEM certificate/, ...create(pair));
  const { ID } = await ask(...create({ ...host, port: '80' }));
  const { Version, Spec } = await ask('GET', `/services/${ID}`);
  const update = `/services/${ID}/update?version=${Version.Index}`;
  await refused(400, /ssl_key is missing/, 'POST', update, {
    ...Spec,
    ...lb({ ...host, port: '80', ssl_cert: 'cert' }),
  });
  await ask('POST', update, { ...Spec, ...lb({ ...host, port: '81' }) });
});
