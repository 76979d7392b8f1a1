import { containerOrder } from '../../src/api/engine/container-request.ts';
import { Fields } from '../../src/api/engine/fields.ts';
import type { ContainerOrder } from '../../src/control/container-order.ts';

/** The order that a body of the API comes to. */
export function orderOf(body: Record<string, unknown>, name?: string): ContainerOrder {
  return containerOrder(new Fields({ Image: 'host', Cmd: ['sleep'], ...body }), name, 'bridge');
}

/** Waits until a condition holds, at most half a minute. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
