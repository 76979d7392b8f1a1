import type { MetricRegistry } from '../../base/metrics.ts';
import type { ListenerTraffic } from '../../model/kernel-listener.ts';
import type { Listener } from '../../model/listener.ts';

type Totals = {
  opened: number;
  received: number;
  sent: number;
  packetsIn: number;
  packetsOut: number;
};

const NOTHING: Totals = { opened: 0, received: 0, sent: 0, packetsIn: 0, packetsOut: 0 };

function totalsOf({ opened, received, sent }: ListenerTraffic): Totals {
  return {
    opened,
    received: received.bytes,
    sent: sent.bytes,
    packetsIn: received.packets,
    packetsOut: sent.packets,
  };
}

/** Turns the kernel's counters, which begin anew with its table, into series that only grow. */
export class TrafficCounts {
  readonly #metrics: MetricRegistry;
  readonly #last = new Map<string, Totals>();
  readonly #active = new Map<string, Map<string, number>>();

  constructor(metrics: MetricRegistry) {
    this.#metrics = metrics;
  }

  /** Takes the counts of a table that may be older than this process as where it begins. */
  begin(traffic: readonly ListenerTraffic[]): void {
    for (const one of traffic) this.#last.set(one.name, totalsOf(one));
  }

  take(traffic: readonly ListenerTraffic[], listeners: Readonly<Record<string, Listener>>): void {
    for (const one of traffic) {
      const listener = listeners[one.name];
      if (listener) this.#takeOne(one, listener.protocol === 'udp');
    }
  }

  /** Flows open to an address, in one listener. */
  active(listener: string, address: string, port: number): number {
    return this.#active.get(listener)?.get(`${address} ${port}`) ?? 0;
  }

  /** Forgets all other listeners. */
  keep(listeners: readonly string[]): void {
    const kept = new Set(listeners);
    for (const name of [...this.#last.keys(), ...this.#active.keys()]) {
      if (kept.has(name)) continue;
      this.#last.delete(name);
      this.#active.delete(name);
    }
  }

  /** Tells what carries each listener. */
  planes(listeners: readonly string[], of: (name: string) => { plane: string }): void {
    for (const name of listeners) {
      const kernel = of(name).plane === 'kernel';
      this.#metrics.cell('sluice_listener_kernel', name).value = kernel ? 1 : 0;
    }
  }

  #takeOne(traffic: ListenerTraffic, udp: boolean): void {
    const { name, active } = traffic;
    const now = totalsOf(traffic);
    const before = this.#last.get(name) ?? NOTHING;
    this.#last.set(name, now);
    const grow = (field: keyof Totals, family: string, ...labels: string[]) => {
      const grown = now[field] >= before[field] ? now[field] - before[field] : now[field];
      this.#metrics.cell(family, name, ...labels).value += grown;
    };
    const flows = udp ? 'sluice_udp_flows' : 'sluice_listener_connections';
    grow('opened', `${flows}_total`);
    grow('received', 'sluice_listener_bytes_received_total');
    grow('sent', 'sluice_listener_bytes_sent_total');
    grow('packetsIn', 'sluice_listener_kernel_packets_total', 'received');
    grow('packetsOut', 'sluice_listener_kernel_packets_total', 'sent');
    const targets = new Map(active.map((one) => [`${one.address} ${one.port}`, one.flows]));
    this.#active.set(name, targets);
    const open = [...targets.values()].reduce((sum, count) => sum + count, 0);
    this.#metrics.cell(`${flows}_active`, name).value = open;
  }
}
