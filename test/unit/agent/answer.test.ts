import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode, type Packet, type RecordType } from 'dns-packet';
import fc from 'fast-check';
import {
  firstOf,
  localAnswer,
  NameIndex,
  parseQuery,
  respond,
  reverseAddress,
} from '../../../src/agent/resolver/answer.ts';
import { parseServices, servicePort } from '../../../src/agent/resolver/service-ports.ts';
import { seededRng } from '../../../src/base/rng.ts';

const view = firstOf([
  new NameIndex([
    { name: 'web', network: 'a', addresses: ['10.0.0.2'], primary: true },
    { name: 'web', network: 'a', addresses: ['10.0.0.3', 'fd00::3'], primary: false },
  ]),
  new NameIndex([
    { name: 'web', network: 'b', addresses: ['10.1.0.2'], primary: true },
    { name: 'db', network: 'b', addresses: ['fd00:0::9'], primary: true },
  ]),
]);

function ask(name: string, type: RecordType, further: Partial<Packet> = {}) {
  const query = parseQuery(
    encode({ type: 'query', id: 7, flags: 256, questions: [{ name, type }], ...further }),
  );
  assert.ok(query);
  return query;
}

const data = (name: string, type: RecordType) =>
  localAnswer(ask(name, type), view, seededRng(1), servicePort)?.answers.map((answer) =>
    'data' in answer ? answer.data : undefined,
  );

test('the first network that knows a name answers it, with all its addresses', () => {
  assert.deepEqual(data('web', 'A')?.toSorted(), ['10.0.0.2', '10.0.0.3']);
  assert.deepEqual(data('WEB', 'AAAA'), ['fd00::3']);
  assert.deepEqual(data('db', 'A'), []);
  assert.deepEqual(data('web', 'SRV'), []);
  assert.equal(data('elsewhere', 'A'), undefined);
});

test('services of a name, with the addresses of whoever offers them', () => {
  const services = [{ port: 8080, transport: 'tcp' }] as const;
  const both = new NameIndex([
    { name: 'web', network: 'a', addresses: ['10.0.0.2'], primary: false, services },
    { name: 'one.a', network: 'a', addresses: ['10.0.0.2'], primary: true, services },
    { name: 'web', network: 'a', addresses: ['10.0.0.3', 'fd00::3'], primary: false, services },
    { name: 'two.a', network: 'a', addresses: ['10.0.0.3', 'fd00::3'], primary: true, services },
    { name: 'web', network: 'a', addresses: ['10.0.0.4'], primary: false },
  ]);
  const portOf = (name: string) => (name === 'http-alt' ? 8080 : Number(name));
  const found = (name: string) => localAnswer(ask(name, 'SRV'), both, seededRng(1), portOf);
  for (const name of ['_8080._tcp.web', '_HTTP-ALT._tcp.Web']) {
    const { answers = [], additionals = [] } = found(name) ?? {};
    const targets = answers.map((one) => one.type === 'SRV' && one.data.target);
    assert.deepEqual(targets.toSorted(), ['one.a', 'two.a']);
    assert.ok(answers.every((one) => one.type === 'SRV' && one.data.port === 8080));
    assert.deepEqual(
      additionals.map((one) => `${one.name} ${one.type} ${'data' in one ? one.data : ''}`),
      ['one.a A 10.0.0.2', 'two.a A 10.0.0.3', 'two.a AAAA fd00::3'],
    );
  }
  assert.deepEqual(found('_8080._udp.web'), { answers: [], additionals: [] });
  assert.deepEqual(found('_80._tcp.web'), { answers: [], additionals: [] });
  assert.equal(found('_8080._tcp.elsewhere'), undefined);
});

test('names of services are those of the host', () => {
  const ports = parseServices('# x\nhttp 80/tcp www # web\nhttp 80/udp\nbad\nworse x/tcp\n');
  assert.deepEqual(
    [...ports],
    [
      ['http/tcp', 80],
      ['www/tcp', 80],
      ['http/udp', 80],
    ],
  );
  assert.equal(servicePort('65536', 'tcp'), undefined);
  assert.equal(servicePort('443', 'tcp'), 443);
});

test('reverse names of both families', () => {
  assert.deepEqual(data('2.0.0.10.in-addr.arpa', 'PTR'), ['web']);
  assert.equal(data('3.0.0.10.in-addr.arpa', 'PTR'), undefined);
  const nine = `9.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
  assert.equal(reverseAddress(nine), 'fd00::9');
  assert.deepEqual(data(nine, 'PTR'), ['db']);
  for (const name of ['300.0.0.10.in-addr.arpa', '0.10.in-addr.arpa', '0.ip6.arpa', 'arpa']) {
    assert.equal(reverseAddress(name), undefined);
  }
});

test('a response repeats the question, keeps the id and fits', () => {
  const answers = Array.from({ length: 60 }, (_, n) => ({
    name: 'web',
    type: 'A' as const,
    ttl: 5,
    data: `10.0.0.${n}`,
  }));
  const outcome = { rcode: 'fine' as const, answers, additionals: [], own: true };
  const small = decode(respond(ask('web', 'A'), outcome, true));
  assert.equal(small.id, 7);
  assert.equal(small.flag_tc, true);
  assert.equal(small.answers?.length, 0);
  assert.equal(decode(respond(ask('web', 'A'), outcome, false)).answers?.length, 60);
  const opt = {
    type: 'OPT' as const,
    name: '.' as const,
    udpPayloadSize: 4096,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  const large = decode(respond(ask('web', 'A', { additionals: [opt] }), outcome, true));
  assert.equal(large.answers?.length, 60);
  assert.equal(large.additionals?.[0]?.type, 'OPT');
});

test('every order of addresses comes, each as often', () => {
  const rng = seededRng(3);
  const first = new Map<unknown, number>();
  for (let n = 0; n < 2000; n++) {
    const [answer] = localAnswer(ask('web', 'A'), view, rng, servicePort)?.answers ?? [];
    const value = answer && 'data' in answer ? answer.data : undefined;
    first.set(value, (first.get(value) ?? 0) + 1);
  }
  for (const count of first.values()) assert.ok(count > 900 && count < 1100);
});

test('no bytes whatever make it throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const query = parseQuery(Buffer.from(bytes));
      if (query)
        respond(query, { rcode: 'failed', additionals: [], answers: [], own: false }, true);
    }),
    { numRuns: 2000 },
  );
  const response = encode({ type: 'response', id: 1, questions: [{ name: 'a', type: 'A' }] });
  assert.equal(parseQuery(response), undefined, 'a response is not answered: no loops');
});
