import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, createServer, type IncomingMessage, request, type Server } from 'node:http';
import { request as requestTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { InheritanceBuilder } from '../../src/gateway/supervisor/handover.ts';
import { NO_ASSIGNMENT } from '../../src/link/assignment.ts';
import { ClusterEdge, wantsCluster } from '../../src/main/cluster-edge.ts';
import { ConfigSource } from '../../src/main/config-source.ts';
import { GatewayHost } from '../../src/main/gateway-host.ts';
import { createPinoLogger } from '../../src/main/pino-logger.ts';
import { ServiceManager } from '../../src/main/service-manager.ts';
import type { ClusterFile, OverlayNetwork, ServiceBackends } from '../../src/model/cluster.ts';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { eventually, freePorts } from '../support/gateway.ts';

const INGRESS: OverlayNetwork = {
  ...{ id: 'ing', name: 'ingress', mtu: 1450, encrypted: false, internal: false },
  ...{ attachable: false, ingress: true },
  segments: [{ vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
};
/** Tasks' addresses, each of which a server answers on with the same port. */
const PLACES = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];

/** An answer: status, body, and the port of the client's own end. */
type Answer = { status: number; body: string; location: string | undefined; port: number };

describe('labels of the services of a cluster', { skip: noCertificates() }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-edge-'));
  const edge = new ClusterEdge();
  const servers: Server[] = [];
  let host: GatewayHost;
  let [web, tls, taskPort]: number[] = [];
  let age = 0;
  /** Requests that the first place keeps for ever. */
  let held = 0;

  function service(
    name: string,
    labels: Readonly<Record<string, string>>,
    tasks: readonly { at: number; draining?: boolean }[],
  ): ServiceBackends {
    const created = new Date(age++ * 1000).toISOString();
    const lb = { hosts: `${name}.example`, port: String(taskPort), ...labels };
    const own = Object.entries(lb).map(([key, value]) => [`com.docker.lb.${key}`, value]);
    return {
      ...{ serviceId: name, name, created, labels: Object.fromEntries(own), resolution: 'vip' },
      ...{ vips: {}, ports: [], aliases: {}, networkNames: {} },
      tasks: tasks.map(({ at, draining = false }) => ({
        ...{ serviceId: name, taskId: `t${at}`, name: `${name}.${at}`, nodeId: 'here', draining },
        addresses: { ing: `10.0.0.${10 + at}/24` },
      })),
    };
  }

  function show(services: readonly ServiceBackends[], files: readonly ClusterFile[] = []) {
    const gatewayAddresses = new Map(PLACES.map((address, at) => [`t${at}`, [address]]));
    const tunnel = { local: '127.0.0.1', port: 4789 };
    const sources = { ipv4: '127.0.0.1', ipv6: undefined };
    const assignment = { ...NO_ASSIGNMENT, networks: [INGRESS], services, files };
    return edge.show(assignment, { nodeId: 'here', epoch: '', tunnel, sources, gatewayAddresses });
  }

  function answerOf(response: IncomingMessage): Promise<Answer> {
    const { statusCode: status = 0, headers, socket } = response;
    const port = (socket.address() as AddressInfo).port;
    return new Promise((resolve) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => resolve({ status, body, location: headers.location, port }));
    });
  }

  function ask(name: string, path = '/', more: object = {}): Promise<Answer> {
    const headers = { host: name, ...('cookie' in more ? { cookie: more.cookie } : {}) };
    return new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: web,
        path,
        agent: false as const,
        ...more,
        headers,
      };
      request(options as object, (response) => resolve(answerOf(response)))
        .on('error', reject)
        .end();
    });
  }

  async function seen(name: string, more: object = {}): Promise<string[]> {
    const bodies = new Set<string>();
    for (let n = 0; n < 12; n++) bodies.add((await ask(name, '/', more)).body);
    return [...bodies].sort();
  }

  before(async () => {
    [web, tls, taskPort] = await freePorts(3);
    for (const address of PLACES) {
      const server = createServer(({ url }, response) => {
        if (url === '/hold' && address === PLACES[0]) held++;
        else response.end(`${address} ${url}`);
      });
      await new Promise<void>((resolve) => server.listen(taskPort, address, resolve));
      servers.push(server);
    }
    makeCertificates(dir);
    const path = join(dir, 'sluice.yaml');
    writeFileSync(
      path,
      `workers: 2
listeners:
  web: { bind: '127.0.0.1:${web}', protocol: http, cluster: true, routes: [{ match: { host: own.example }, respond: { body: own } }] }
  tls:
    bind: '127.0.0.1:${tls}'
    protocol: https
    cluster: true
    tls: { certificates: [{ cert: wild.example.org.pem, key: wild.example.org.key }] }
`,
    );
    const source = new ConfigSource([path], {}, edge);
    const loaded = source.load();
    assert.ok(wantsCluster(loaded.written));
    const logger = createPinoLogger('error');
    host = new GatewayHost({
      ...{ source, loaded, logger, cluster: edge, directory: undefined, succeeds: false },
      ...{ inheritance: new InheritanceBuilder().result, onLeft: () => {} },
      manager: new ServiceManager({}, logger),
    });
    await host.start();
  });

  after(async () => {
    await host?.stop('SIGTERM');
    for (const server of servers) server.close();
    rmSync(dir, { recursive: true });
  });

  test('make routes to the tasks that serve; a path is cut where that is asked for', async () => {
    await show([
      service('app', {}, [{ at: 0 }, { at: 1 }]),
      service('deep', { context_root: '/deep', context_root_rewrite: 'true' }, [{ at: 2 }]),
    ]);
    assert.deepEqual(await seen('app.example'), ['127.0.0.1 /', '127.0.0.2 /']);
    assert.equal((await ask('deep.example', '/deep/x?y=1')).body, '127.0.0.3 /x?y=1');
    assert.equal((await ask('deep.example', '/other')).status, 404);
    assert.equal((await ask('own.example')).body, 'own');
    assert.equal((await ask('nobody.example')).status, 404);
  });

  test('a task that drains gets nothing new from the moment that this is acknowledged', async () => {
    const tasks = [{ at: 0 }, { at: 1 }];
    const app = service('app', {}, tasks);
    await show([app]);
    const { generation } = host.supervisor;
    for (const leaving of [0, 1, 0, 1]) {
      const left = app.tasks.map((task, at) => ({ ...task, draining: at === leaving }));
      await show([{ ...app, tasks: left }]);
      assert.deepEqual(await seen('app.example'), [`${PLACES[1 - leaving]} /`]);
    }
    assert.equal(host.supervisor.generation, generation, 'no reload');
  });

  test('what waits on a task that goes is sent to one that has come in the same step', async () => {
    const app = service('app', {}, [{ at: 0 }, { at: 1, draining: true }]);
    await show([app]);
    const waiting = ask('app.example', '/hold');
    await eventually('it waits', () => held === 1);
    await show([
      { ...app, tasks: app.tasks.map((task) => ({ ...task, draining: !task.draining })) },
    ]);
    const { status, body } = await waiting;
    assert.deepEqual([status, body], [200, '127.0.0.2 /hold']);
  });

  test('cookies of the application and TLS only', async () => {
    const three = PLACES.map((_, at) => ({ at }));
    await show([
      service('sticky', { sticky_session_cookie: 'sid' }, three),
      service('safe', { ssl_only: 'true' }, three),
    ]);
    assert.equal((await seen('sticky.example')).length, 3);
    assert.equal((await seen('sticky.example', { cookie: 'sid=42' })).length, 1);
    const { status, location } = await ask('safe.example', '/a?b=c');
    assert.deepEqual([status, location], [307, 'https://safe.example/a?b=c']);
  });

  test('another label changes its route; connections of other routes stay', async (t) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const stay = service('stay', {}, [{ at: 0 }]);
    const move = service('move', {}, [{ at: 1 }]);
    await show([stay, move]);
    const first = await ask('stay.example', '/', { agent });
    const { generation } = host.supervisor;
    await show([
      stay,
      { ...move, labels: { ...move.labels, 'com.docker.lb.hosts': 'new.example' } },
    ]);
    assert.equal(host.supervisor.generation, generation + 1);
    assert.equal((await ask('new.example')).body, '127.0.0.2 /');
    assert.equal((await ask('move.example')).status, 404);
    const second = await ask('stay.example', '/', { agent });
    assert.deepEqual([second.body, second.port], ['127.0.0.1 /', first.port]);
  });

  test('changes of many services at once all arrive', async () => {
    const all: ServiceBackends[] = [];
    const shown: Promise<void>[] = [];
    for (let n = 0; n < 20; n++) {
      all.push(service(`many${n}`, {}, [{ at: n % 3 }]));
      shown.push(show([...all]));
      if (n % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(shown);
    for (const { name } of all) assert.equal((await ask(`${name}.example`)).status, 200, name);
  });

  test('a secret is the certificate that clients of its host see', async () => {
    const file = (name: string, path: string): ClusterFile => ({
      ...{ id: name, name, labels: {}, created: '', updated: '', kind: 'secret' },
      data: readFileSync(join(dir, path)).toString('base64'),
    });
    const files = [file('c', 'example.com.pem'), file('k', 'example.com.key')];
    const labels = { hosts: 'example.com', ssl_cert: 'c', ssl_key: 'k' };
    await show([service('safe', labels, [{ at: 0 }])], files);
    const subject = (servername: string) =>
      new Promise<string>((resolve, reject) => {
        const options = { host: '127.0.0.1', port: tls, servername, rejectUnauthorized: false };
        requestTls({ ...options, headers: { host: servername }, agent: false }, (response) => {
          const socket = response.socket as unknown as {
            getPeerCertificate(): { subject: { CN: string } };
          };
          resolve(socket.getPeerCertificate().subject.CN);
          response.resume();
        })
          .on('error', reject)
          .end();
      });
    assert.equal(await subject('example.com'), 'example.com');
    assert.equal(await subject('else.example'), 'wild.example.org');
    assert.ok(!JSON.stringify(host.supervisor.config).includes('PRIVATE KEY'));
    await show([]);
    assert.equal(await subject('example.com'), 'wild.example.org');
  });

  test('files that are broken now do not keep the cluster away', async () => {
    const path = join(dir, 'sluice.yaml');
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, 'listeners: {');
    await show([service('late', {}, [{ at: 0 }])]);
    assert.equal((await ask('late.example')).status, 200);
    writeFileSync(path, good.replace('body: own', 'body: other'));
    await show([service('later', {}, [{ at: 0 }])]);
    assert.equal((await ask('own.example')).body, 'own', 'nobody has asked for a reload');
    assert.equal((await ask('later.example')).status, 200);
  });
});
