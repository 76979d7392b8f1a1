import { systemClock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { KernelCarrier } from '../gateway/plane/kernel-plane.ts';
import { AgentClient } from '../link/agent-client.ts';
import type { CarryFailure, KernelListener, ListenerTraffic } from '../model/kernel-listener.ts';

/** The node agent behind a unix socket, as the gateway's kernel plane uses it. */
export class AgentCarrier implements KernelCarrier {
  readonly #client: AgentClient;
  onConnected: (up: boolean) => void = () => {};

  constructor(socket: string, logger: Logger) {
    const events = {
      taskExited: () => {},
      execExited: () => {},
      degraded: (reason: string) => logger.warn('the agent', { reason }),
      connected: (up: boolean) => this.onConnected(up),
    };
    this.#client = new AgentClient(socket, events, systemClock);
  }

  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]> {
    return this.#client.carry(listeners);
  }

  traffic(): Promise<readonly ListenerTraffic[]> {
    return this.#client.traffic();
  }

  close(): void {
    this.#client.close();
  }
}
