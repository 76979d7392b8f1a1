import { errorText } from '../../base/errors.ts';
import { dropFlows, type FlowFilter, familyOf, listDestinations } from '../../kernel/conntrack.ts';
import { type ForwardIntent, isWildcard } from '../../model/host-intent.ts';
import { canonical } from './host-content.ts';
import type { Change } from './intent-store.ts';
import { type AgentTools, eachOf } from './tools.ts';

/**
 * Each order to forget walks the kernel's whole table of flows: for more than this, one listing
 * tells first which are of any use.
 */
const MAX_UNASKED = 4;

function filterOf(forward: ForwardIntent): FlowFilter {
  const { transport, port, address } = forward;
  return address === undefined || isWildcard(address)
    ? { transport, port }
    : { transport, port, address };
}

/**
 * Which flows must be forgotten after a change: those to a target that is gone, and UDP flows that
 * began before their port was published and would pass it by for as long as they are busy. Those to
 * `draining` targets stay.
 */
export function staleFlows(
  change: Pick<Change, 'formerForwards' | 'newForwards'>,
  forwards: ReadonlyMap<string, ForwardIntent>,
  draining: ReadonlySet<string> = new Set(),
): FlowFilter[] {
  const filters: FlowFilter[] = [];
  for (const former of change.formerForwards) {
    const now = forwards.get(former.id);
    for (const target of former.targets) {
      if (draining.has(target.address)) continue;
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

/**
 * Flows to a target whose host is down that it has not answered: the kernel would send a client that
 * asks again, or another one with the same port, the same way for minutes.
 */
export function unansweredFlows(target: string): FlowFilter[] {
  return [
    { transport: 'tcp', replySource: target, state: 'SYN_SENT' },
    { transport: 'sctp', replySource: target, state: 'COOKIE_WAIT' },
    // Without connections: a client that goes on asking would never get away.
    { transport: 'udp', replySource: target },
  ];
}

const textOf = (address: string | undefined) =>
  address === undefined ? undefined : canonical(address);

/** Those filters that any flow of now matches. */
async function matching(tools: AgentTools, filters: readonly FlowFilter[]): Promise<FlowFilter[]> {
  const kindOf = (filter: FlowFilter) => `${familyOf(filter)} ${filter.transport}`;
  const keyOf = (...[address = '*', port = 0, source = '*']: [string?, number?, string?]) =>
    `${address} ${port} ${source}`;
  const live = new Map<string, Set<string>>();
  for (const filter of filters) {
    if (live.has(kindOf(filter))) continue;
    const keys = new Set<string>();
    for (const flow of await listDestinations(tools.exec, familyOf(filter), filter.transport)) {
      for (const address of [undefined, flow.address]) {
        for (const source of [undefined, flow.replySource]) {
          for (const port of [undefined, flow.port]) keys.add(keyOf(address, port, source));
        }
      }
    }
    live.set(kindOf(filter), keys);
  }
  return filters.filter((filter) =>
    live
      .get(kindOf(filter))
      ?.has(keyOf(textOf(filter.address), filter.port, textOf(filter.replySource))),
  );
}

async function forgetFlows(tools: AgentTools, filters: readonly FlowFilter[]) {
  let wanted = filters;
  if (filters.length > MAX_UNASKED) {
    try {
      wanted = await matching(tools, filters);
    } catch (error) {
      tools.logger.debug('flows could not be listed', { error: errorText(error) });
      return;
    }
  }
  await eachOf(wanted, 2, async (filter) => {
    if (!(await dropFlows(tools.exec, filter))) {
      tools.logger.debug('flows could not be dropped', { filter });
    }
  });
}

/**
 * Forgets flows behind the back of the changes that ask for it: the walk through the kernel's flows
 * takes longer than the changes do. A failure is logged; the host's `doctor` names the missing
 * command.
 */
export class FlowCutter {
  readonly #tools: AgentTools;
  #last: Promise<void> = Promise.resolve();
  /** Targets whose flows are still to go, with how many orders name them. */
  readonly #pending = new Map<string, number>();

  constructor(tools: AgentTools) {
    this.#tools = tools;
  }

  /** Orders follow each other. */
  cut(filters: readonly FlowFilter[]): void {
    if (filters.length === 0) return;
    const targets = new Set(filters.flatMap(({ replySource }) => replySource ?? []));
    for (const target of targets) this.#pending.set(target, (this.#pending.get(target) ?? 0) + 1);
    this.#last = this.#last
      // The answer to the change goes out before a command is started.
      .then(() => new Promise((resolve) => setImmediate(resolve)))
      .then(() => forgetFlows(this.#tools, filters))
      .finally(() => {
        for (const target of targets) {
          const left = (this.#pending.get(target) ?? 1) - 1;
          if (left > 0) this.#pending.set(target, left);
          else this.#pending.delete(target);
        }
      });
  }

  /** Waits where targets come back whose former flows are still to go: new ones must not go along. */
  async settled(forwards: readonly ForwardIntent[]): Promise<void> {
    if (this.#pending.size === 0) return;
    const back = forwards.some(({ targets }) =>
      targets.some(({ address }) => this.#pending.has(address)),
    );
    if (back) await this.#last;
  }

  /** Ends with the last order. */
  async idle(): Promise<void> {
    await this.#last;
  }
}
