import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { serveEngine } from '../support/engine.ts';

type Recorded = { m: string; u: string; s: number; b?: unknown; upgrade?: string };
type Invocation = { cmd: string[]; requests: Recorded[] };

const FIXTURE = new URL('../fixtures/cli-requests.jsonl', import.meta.url);
/** Requests whose answer is no single piece of JSON are tried elsewhere, with a real client. */
const STREAMS = /\/(attach|start|wait|logs|stats|events)(\?|$)/;

/** Where one host answers otherwise than the stub that was recorded: command, request, status. */
const OTHERWISE: readonly (readonly [RegExp, string, number])[] = [
  [/overlay|--ingress|--scope swarm/, 'POST /networks/create', 403],
  [/^network create my-net$/, 'POST /networks/create', 409],
  [/^network rm br0/, 'DELETE /networks/bridge', 403],
  [/^network rm br0/, '/networks/nope', 404],
  [/^network rm br0/, '/networks/br0', 404],
  [/ --net (container:pub|host) .*--mac-address/, 'POST /containers/create', 400],
  [/--uts host --hostname/, 'POST /containers/create', 400],
  [/--restart=always:3/, 'POST /containers/create', 400],
  [/^network rm ingress/, 'GET /networks/ingress', 404],
  [/^network rm ingress/, 'DELETE /networks/ingress', 404],
  [/^run .*overlay/, 'POST /containers/create', 404],
];

/** Orders that make an object what the recorded command finds. */
const BEFORE: readonly (readonly [RegExp, string, unknown?])[] = [
  [/^network disconnect/, '/networks/my-net/connect', { Container: 'my-nginx' }],
  [/^unpause test/, '/containers/test/pause'],
  [/^rm p2/, '/containers/p2/stop'],
];

function expected(cmd: string, { m, u, s }: Recorded): number {
  const line = `${m} ${u.replace(/^\/v1\.\d+/, '')}`;
  const other = OTHERWISE.find(([pattern, part]) => pattern.test(cmd) && line.includes(part));
  return other?.[2] ?? s;
}

async function prepare(call: Awaited<ReturnType<typeof serveEngine>>['call']) {
  const post = async (path: string, body: unknown) => {
    const reply = await call('POST', path, body);
    assert.ok(reply.status < 300, `${path}: ${JSON.stringify(reply.body)}`);
    return String((reply.body as { Id?: string }).Id);
  };
  const block = [{ Subnet: '10.0.0.0/24' }, { Subnet: '2001:db8::/64' }];
  await post('/networks/create', { Name: 'my-net', EnableIPv6: true, IPAM: { Config: block } });
  await post('/networks/create', { Name: 'other' });
  await post('/containers/create?name=c2', { Image: 'busybox' });
  for (const name of ['pub', 'test', 'my-nginx', 'p2', 'cr']) {
    const id = await post(`/containers/create?name=${name}`, { Image: 'nginx' });
    await post(`/containers/${id}/start`, undefined);
  }
  return post('/containers/pub/exec', { Cmd: ['ls'] });
}

const invocations = readFileSync(FIXTURE, 'utf8')
  .trim()
  .split('\n')
  .map((line): Invocation => JSON.parse(line));

for (const { cmd, requests } of invocations) {
  const line = cmd.join(' ');
  test(`docker ${line}`, async (t) => {
    const { call } = await serveEngine(t);
    const exec = await prepare(call);
    for (const [pattern, path, body] of BEFORE) {
      if (pattern.test(line)) assert.ok((await call('POST', path, body)).status < 300);
    }
    let last = 'pub';
    for (const recorded of requests) {
      if (recorded.m === 'EXECBODY' || STREAMS.test(recorded.u)) continue;
      const id = recorded.u.includes('/exec/') ? exec : last;
      // The recording server knew every container; those that a command makes are new here.
      const named = recorded.u.replace(/<(ctr|exec|net)[^>]*>/, id);
      const path = named.replace(/name=(test|p2|fg|pub|my-nginx|cr)(?=$|&)/, 'name=$1-new');
      const reply = await call(recorded.m, encodeURI(decodeURI(path)), recorded.b);
      const wanted = expected(line, recorded);
      assert.equal(reply.status, wanted, `${recorded.m} ${path}: ${JSON.stringify(reply.body)}`);
      if (recorded.u.includes('/containers/create') && reply.status === 201) {
        last = String((reply.body as { Id: string }).Id);
      }
    }
  });
}
