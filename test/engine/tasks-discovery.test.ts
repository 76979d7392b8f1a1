import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { createProvider } from '../../src/gateway/discovery/provider.ts';
import type { EndpointSpec } from '../../src/model/endpoint-state.ts';
import { serveEngine } from '../support/engine.ts';
import { eventually } from '../support/gateway.ts';

type Query = Parameters<typeof createProvider>[0] & { tasks: unknown };

async function engineWith(t: TestContext) {
  const parts = await serveEngine(t);
  const { call } = parts;
  const ok = async (method: string, path: string, body?: unknown) => {
    const reply = await call(method, path, body);
    assert.ok(reply.status < 300, `${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
    return reply.body as { Id: string };
  };
  for (const [name, subnet] of [
    ['blue', '10.1.0.0/24'],
    ['green', '10.2.0.0/24'],
  ] as const) {
    await ok('POST', '/networks/create', { Name: name, IPAM: { Config: [{ Subnet: subnet }] } });
  }
  const run = async (name: string, settings: Record<string, unknown> = {}) => {
    const body = {
      Image: 'host',
      Cmd: ['sleep'],
      ExposedPorts: { '80/tcp': {} },
      HostConfig: { NetworkMode: 'blue' },
      ...settings,
    };
    const { Id } = await ok('POST', `/containers/create?name=${name}`, body);
    await ok('POST', `/containers/${Id}/start`);
    return Id;
  };
  return { ...parts, ok, run };
}

function follow(t: TestContext, socket: string, query: Query['tasks']) {
  let told: readonly EndpointSpec[] = [];
  const provider = createProvider({ tasks: query } as Query, {
    clock: systemClock,
    logger: silentLogger,
    consul: undefined,
    cluster: undefined,
    engine: { socket },
    emptyAfterMs: 60_000,
    allow: [],
    onRefused: () => {},
    onEndpoints: (specs) => {
      told = specs;
    },
  });
  t.after(() => provider.close());
  return (...ids: string[]) =>
    eventually(`endpoints ${ids} of ${JSON.stringify(told)}`, () => {
      return JSON.stringify(told.map(({ id }) => id)) === JSON.stringify(ids);
    });
}

test('tasks come and go by name; the last one is gone at once', async (t) => {
  const { path, ok, run } = await engineWith(t);
  const are = follow(t, path, { name: 'web-*' });
  const first = await run('web-1');
  await are('10.1.0.2:80');
  await run('other');
  const second = await run('web-2');
  await are('10.1.0.2:80', '10.1.0.4:80');
  await ok('POST', `/containers/${first}/pause`);
  await are('10.1.0.4:80');
  await ok('POST', `/containers/${first}/unpause`);
  await are('10.1.0.2:80', '10.1.0.4:80');
  for (const id of [first, second]) await ok('DELETE', `/containers/${id}?force=true`);
  await are();
});

test('tasks by label, on the network and port that are asked for', async (t) => {
  const { path, ok, run } = await engineWith(t);
  const are = follow(t, path, { label: 'tier=front', network: 'green', port: 9 });
  const id = await run('front', { Labels: { tier: 'front' } });
  await run('back', { Labels: { tier: 'back' }, HostConfig: { NetworkMode: 'green' } });
  await ok('POST', '/networks/green/connect', { Container: id });
  await are('10.2.0.3:9');
  await ok('POST', '/networks/green/disconnect', { Container: id });
  await are();
});

test('an engine that was away is heard again', async (t) => {
  const { path, run } = await engineWith(t);
  await run('web');
  const are = follow(t, `${path}.not`, { name: 'web' });
  const { symlinkSync } = await import('node:fs');
  symlinkSync(path, `${path}.not`);
  await are('10.1.0.2:80');
});
