import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { AdminServer } from '../../../src/api/admin-server.ts';
import type { AdminBackend, EventInfo } from '../../../src/client/admin-types.ts';
import { bindExclusive } from '../../../src/net/handles.ts';
import { eventually, freePorts } from '../../support/gateway.ts';

test('a reader of events that does not read is cut off', async (t) => {
  let tell: ((event: EventInfo) => void) | undefined;
  const backend = {
    follow: (next: (event: EventInfo) => void) => {
      tell = next;
      return () => {
        tell = undefined;
      };
    },
    // exempt(as): the server asks for nothing else here.
  } as unknown as AdminBackend;
  const [port = 0] = await freePorts(1);
  const server = new AdminServer(backend, undefined);
  const bind = { kind: 'ip', host: '127.0.0.1', port, dualStack: false } as const;
  await server.listen([{ bind, handle: bindExclusive(bind) }]);
  t.after(() => server.close());
  const reader = net.connect(port, '127.0.0.1');
  t.after(() => reader.destroy());
  reader.on('error', () => {});
  reader.pause();
  reader.write('GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await eventually('it follows', () => tell !== undefined);
  const event = {
    at: 0,
    service: 's',
    endpoint: 'e',
    to: 'up',
    reason: 'x'.repeat(10_000),
  } as const;
  // More than what sockets hold, and far less than what a leak would take.
  let told = 0;
  while (tell && told < 5000) {
    for (let at = 0; at < 50; at++) tell?.(event);
    told += 50;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(told < 5000, 'it was cut off');
});
