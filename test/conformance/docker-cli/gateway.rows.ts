import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EngineCertificates, makeCertificates } from '../../support/engine-certs.ts';
import { CLIENT, HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

const SECOND = '198.51.100.3';
const SERVER = `
const { readFileSync } = require('node:fs');
const [name, port, cert, key] = process.argv.slice(1);
const answer = (request, response) => response.end(name + ' ' + (request.headers.host || '') + '\\n');
const tls = cert && { cert: readFileSync(cert), key: readFileSync(key) };
const server = tls
  ? require('node:https').createServer(tls, answer)
  : require('node:http').createServer(answer);
server.listen(Number(port));
`;

/** Starts the daemon with a gateway beside its engine. */
async function withGateway(lab: Lab, config: Record<string, unknown>): Promise<void> {
  const path = join(lab.folder, 'gateway.yaml');
  const common = {
    admin: { bind: '127.0.0.1:9900' },
    workers: 1,
    discovery: { engine: { socket: lab.socket } },
  };
  writeFileSync(path, JSON.stringify({ ...common, ...config }));
  await lab.fresh(['--config', path]);
}

/** A web server in a container, with TLS when there is a certificate; `options`: docker run's. */
async function serveWeb(
  lab: Lab,
  name: string,
  certificates: EngineCertificates | undefined,
  ...options: string[]
): Promise<void> {
  const port = certificates ? '443' : '80';
  const files = certificates ? [certificates.cert, certificates.key] : [];
  const argv = [process.execPath, '-e', SERVER, name, port, ...files];
  await lab.ok('run', '-d', '--name', name, '--expose', port, ...options, 'host', ...argv);
}

/** What a web server answers the client with. */
async function get(lab: Lab, url: string, ...options: string[]): Promise<string> {
  const { out, err } = await lab.client('curl', '-sS', '-m', '5', ...options, url);
  return `${out}${err}`.trim();
}

/** Every one of several answers. */
async function all(count: number, ask: () => Promise<string>): Promise<Set<string>> {
  const answers = new Set<string>();
  for (let n = 0; n < count; n++) answers.add(await ask());
  return answers;
}

/** Managers behind a load balancer that leaves their TLS alone. */
function managers(binds: readonly string[]): Record<string, unknown> {
  const listeners = binds.map((bind, index) => [
    `edge${index}`,
    { bind, protocol: 'tcp', service: `managers${index}` },
  ]);
  const health = { type: 'https', path: '/_ping', verify: false, interval: '300ms', fall: 2 };
  const services = binds.map((_, index) => [
    `managers${index}`,
    {
      balance: 'round-robin',
      discover: { tasks: { label: `pool=${index}`, port: 443 } },
      health: { ...health, rise: 1, expect: { status: 200 } },
    },
  ]);
  return { listeners: Object.fromEntries(listeners), services: Object.fromEntries(services) };
}

rows(
  [],
  [
    row(
      'UL-01 UL-03',
      'managers on 443: TLS is theirs, one that fails is left out',
      async (lab) => {
        const certificates = makeCertificates(lab.folder, HOST);
        await withGateway(lab, managers([`${HOST}:443`]));
        for (const name of ['m1', 'm2']) await serveWeb(lab, name, certificates, '-l', 'pool=0');
        const ask = () => get(lab, `https://${HOST}/`, '--cacert', certificates.ca);
        await eventually(ask, new RegExp(`^m1 ${HOST}$`));
        await eventually(ask, /^m2/);
        await lab.ok('kill', 'm1');
        await eventually(async () => [...(await all(6, ask))].join(), new RegExp(`^m2 ${HOST}$`));
        assert.deepEqual([...(await all(20, ask))], [`m2 ${HOST}`], 'nothing is lost meanwhile');
        await lab.ok('start', 'm1');
        await eventually(ask, /^m1/);
      },
    ),
    row('UL-04', 'two pools on one port, each on an address of its own', async (lab) => {
      const certificates = makeCertificates(lab.folder, HOST);
      await lab.host('ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'eth0');
      await withGateway(lab, managers([`${HOST}:443`, `${SECOND}:443`]));
      await serveWeb(lab, 'ucp', certificates, '-l', 'pool=0');
      await serveWeb(lab, 'dtr', certificates, '-l', 'pool=1');
      await eventually(() => get(lab, `https://${HOST}/`, '-k'), /^ucp/);
      await eventually(() => get(lab, `https://${SECOND}/`, '-k'), /^dtr/);
      await lab.host('ip', 'addr', 'del', `${SECOND}/24`, 'dev', 'eth0');
    }),
    row('UL-05', 'failures of live traffic put an endpoint aside', async (lab) => {
      const down = `${CLIENT}:7444`;
      await withGateway(lab, {
        listeners: { edge: { bind: `${HOST}:8443`, protocol: 'tcp', service: 'pool' } },
        services: {
          pool: {
            balance: 'round-robin',
            endpoints: [down, `${CLIENT}:7443`],
            passive: { failures: 2, ejectFor: '30s', maxEjected: '50%' },
          },
        },
      });
      const end = await lab.serveOutside('up', 'tcp:7443');
      try {
        const ask = () => lab.ask('client', 'tcp', HOST, 8443);
        await eventually(async () => [...(await all(10, ask))].join(), /^up [^,]*$/);
        const metrics = async () => (await lab.host('curl', '-s', '127.0.0.1:9900/metrics')).out;
        await eventually(metrics, new RegExp(`endpoint="${down}".*(?:state="ejected"|reason=).*`));
      } finally {
        end();
      }
    }),
    row(
      'RA-44 OV-05',
      'host names of an HTTP listener lead to containers by label',
      async (lab) => {
        const service = (label: string) => ({
          discover: { tasks: { label } },
          ...(label === 'site=shop' ? { sticky: { cookie: {} } } : {}),
        });
        await withGateway(lab, {
          listeners: {
            web: {
              bind: `${HOST}:80`,
              protocol: 'http',
              routes: [
                { match: { host: 'shop.example.test' }, service: 'shop' },
                { match: { host: '*.example.test' }, service: 'rest' },
              ],
            },
          },
          services: { shop: service('site=shop'), rest: service('site=rest') },
        });
        for (const name of ['shop1', 'shop2']) {
          await serveWeb(lab, name, undefined, '-l', 'site=shop');
        }
        await serveWeb(lab, 'rest1', undefined, '-l', 'site=rest');
        const at = (host: string, ...more: string[]) =>
          get(lab, `http://${HOST}/`, '-H', `Host: ${host}`, ...more);
        await eventually(() => at('blog.example.test'), /^rest1 blog\.example\.test$/);
        await eventually(() => at('shop.example.test'), /^shop1/);
        await eventually(() => at('shop.example.test'), /^shop2/);
        // RA-45: who comes back with the cookie stays where it was.
        const jar = join(lab.folder, 'jar');
        const first = await at('shop.example.test', '-c', jar);
        assert.match(readFileSync(jar, 'utf8'), /SLUICE/);
        assert.deepEqual([...(await all(8, () => at('shop.example.test', '-b', jar)))], [first]);
      },
    ),
    row('SE-22', 'a certificate of one’s own with its names', async (lab) => {
      const { ca, cert, key } = makeCertificates(lab.folder, HOST);
      await withGateway(lab, {
        listeners: {
          web: {
            ...{ bind: `${HOST}:443`, protocol: 'https', service: 'web' },
            tls: { certificates: [{ cert, key }] },
          },
        },
        services: { web: { discover: { tasks: { name: 'web' } } } },
      });
      await serveWeb(lab, 'web', undefined);
      await eventually(() => get(lab, `https://${HOST}/`, '--cacert', ca), /^web/);
      const other = ['--cacert', ca, '--resolve', `other.test:443:${HOST}`];
      assert.match(await get(lab, 'https://other.test/', ...other), /SSL|certificate/);
      await lab.fresh([]);
    }),
  ],
);
