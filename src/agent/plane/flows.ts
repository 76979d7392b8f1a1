import { dropFlows, type FlowFilter } from '../../kernel/conntrack.ts';
import { type ForwardIntent, isWildcard } from '../../model/host-intent.ts';
import type { Change } from './intent-store.ts';
import { type AgentTools, eachOf } from './tools.ts';

/** A change of more flows than this is done in the background. */
const MAX_AWAITED = 32;

function filterOf(forward: ForwardIntent): FlowFilter {
  const { transport, port, address } = forward;
  return address === undefined || isWildcard(address)
    ? { transport, port }
    : { transport, port, address };
}

/**
 * Which flows must be forgotten after a change: those to a target that is gone, and UDP flows that
 * began before their port was published and would pass it by for as long as they are busy.
 */
export function staleFlows(
  change: Change,
  forwards: ReadonlyMap<string, ForwardIntent>,
): FlowFilter[] {
  const filters: FlowFilter[] = [];
  for (const former of change.formerForwards) {
    const now = forwards.get(former.id);
    for (const target of former.targets) {
      const stays =
        now?.port === former.port &&
        now.targets.some(({ address, port }) => address === target.address && port === target.port);
      if (!stays) filters.push({ ...filterOf(former), replySource: target.address });
    }
  }
  for (const forward of change.newForwards) {
    if (forward.transport === 'udp') filters.push(filterOf(forward));
  }
  return filters;
}

/** Forgets flows; a failure is logged, the host's `doctor` names the missing command. */
export async function forgetFlows(tools: AgentTools, filters: readonly FlowFilter[]) {
  const work = eachOf(filters, 2, async (filter) => {
    if (!(await dropFlows(tools.exec, filter))) {
      tools.logger.debug('flows could not be dropped', { filter });
    }
  });
  if (filters.length <= MAX_AWAITED) await work;
}
