import { type Command, InvalidArgumentError } from 'commander';
import { SluiceError } from '../base/errors.ts';
import type { AdminClient } from '../client/admin-client.ts';
import type { EndpointInfo, EndpointOrder } from '../client/admin-types.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { Context } from './context.ts';
import { stateOf } from './endpoint-rows.ts';

const ASK_EVERY_MS = 200;
const MEANINGS = {
  ready: 'lets an endpoint take work',
  drain: 'lets an endpoint finish its work and take no new',
  maint: 'takes an endpoint out, checks included',
} as const;

function numberFrom(from: number, to: number, what: string): (text: string) => number {
  return (text) => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= from && value <= to) return value;
    throw new InvalidArgumentError(`${what}, from ${from} to ${to}.`);
  };
}

/** `drain`, `maint`, `ready`, `weight` and `reload`. */
export function addOrders(program: Command, context: Context): void {
  const { client, show } = context;
  for (const state of ['ready', 'drain', 'maint'] as const) {
    program
      .command(`${state} <service> <endpoint>`)
      .description(MEANINGS[state])
      .option(
        '--wait <seconds>',
        'wait until no work is left, at most so long; drain: by default the drain timeout',
        numberFrom(0, 86_400, 'seconds'),
      )
      .action(async (service: string, endpoint: string, { wait }: { wait?: number }) => {
        await client().order(service, endpoint, { state });
        const byDefault = state === 'drain' ? await drainTimeout(client(), service) : 0;
        await tell(context, service, endpoint, wait === undefined ? byDefault : wait * 1000);
      });
  }
  program
    .command('weight <service> <endpoint>')
    .argument('<weight>', '0 to 256; 0 takes no new work', numberFrom(0, 256, 'a whole number'))
    .description('sets the weight of an endpoint')
    .action(async (service: string, endpoint: string, weight: number) => {
      const order: EndpointOrder = { weight };
      await client().order(service, endpoint, order);
      await tell(context, service, endpoint, 0);
    });
  program
    .command('reload')
    .description('reads the configuration again')
    .action(async () => {
      await client().reload();
      show({ reloaded: true }, 'reloaded');
    });
  program
    .command('upgrade')
    .description('lets a new daemon, from the installed files, take over without a lost connection')
    .action(async () => {
      const upgraded = await client().upgrade();
      show(upgraded, `process ${upgraded.pid} serves; the one before it finishes its work`);
    });
}

async function drainTimeout(client: AdminClient, service: string): Promise<number> {
  const { services } = (await client.config()) as GatewayConfig;
  return services[service]?.drain.timeout ?? 0;
}

/** Tells of an endpoint after an order and, while waiting, whenever its work changes. */
async function tell(
  { client, json, io }: Context,
  service: string,
  endpoint: string,
  waitMs: number,
): Promise<void> {
  const deadline = performance.now() + waitMs;
  const say = (text: string) => json() || io.print(text);
  let found = await look();
  say(`${service} ${endpoint}: ${stateOf(found)}, weight ${found.weight}, ${found.active} active`);
  let told = -1;
  while (found.active > 0 && performance.now() < deadline) {
    if (found.active !== told) say(`${found.active} at work`);
    told = found.active;
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    found = await look();
  }
  if (json()) io.print(JSON.stringify(found, null, 2));
  if (waitMs <= 0) return;
  if (found.active === 0) say('no work is left');
  else io.fail(`after ${waitMs / 1000} s ${found.active} still at work`);

  async function look(): Promise<EndpointInfo> {
    const one = (await client().endpoints(service)).find(({ id }) => id === endpoint);
    if (one) return one;
    throw new SluiceError('E_ADMIN_REFUSED', `${service} has no endpoint ${endpoint} any more`);
  }
}
