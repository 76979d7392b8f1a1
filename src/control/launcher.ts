import { errorText } from '../base/errors.ts';
import { conflict, failed, invalid } from '../base/faults.ts';
import type { Container, PortBinding } from '../model/container.ts';
import type { TaskState } from '../model/task-spec.ts';
import { bindPorts, releaseAddresses } from './attachments.ts';
import { forwardId } from './compile.ts';
import { needImage } from './container-order.ts';
import { UNKNOWN_HEALTH } from './health-state.ts';
import { hostsFile, linkersOf, resolvConf } from './host-files.ts';
import { ApplyError } from './host-plane.ts';
import { stamp } from './ids.ts';
import { type ControlParts, patch, tellJoin } from './parts.ts';
import { RemoteAttachments } from './remote/remote-attachments.ts';
import { taskSpec } from './task-spec.ts';

/** Ports that the kernel may refuse one after the other before the order fails. */
const MAX_PORT_TRIES = 16;
const NOT_FOUND = /executable file not found|no such file or directory/i;
const NOT_RUNNABLE = /permission denied|is a directory/i;
const EXIT_NOT_FOUND = 127;
const EXIT_NOT_RUNNABLE = 126;
const EXIT_REFUSED = 128;

/** The exit code that stands for a command that could not be started. */
export function startFailureCode(message: string): number {
  if (NOT_FOUND.test(message)) return EXIT_NOT_FOUND;
  return NOT_RUNNABLE.test(message) ? EXIT_NOT_RUNNABLE : EXIT_REFUSED;
}

/** Whether another port of the host would do as well. */
function isExchangeable({ spec }: Container, { port, transport, hostPort }: PortBinding): boolean {
  return !spec.ports.some(
    (asked) =>
      asked.port === port &&
      asked.transport === transport &&
      asked.hostPorts?.every((one) => one === hostPort),
  );
}

/** The ports that the host would not give, when others will do and nothing else is amiss. */
function exchangeable(container: Container, error: unknown): number[] {
  if (!(error instanceof ApplyError)) return [];
  const refused = container.bindings.filter((binding) =>
    error.failures.some(({ id }) => id === forwardId(container, binding)),
  );
  const all = refused.length === error.failures.length;
  const fine = all && refused.every((binding) => isExchangeable(container, binding));
  return fine ? refused.map(({ hostPort }) => hostPort) : [];
}

/** Takes containers from their description to a running task and back. */
export class Launcher {
  readonly #parts: ControlParts;
  readonly #remote: RemoteAttachments;

  constructor(parts: ControlParts) {
    this.#parts = parts;
    this.#remote = new RemoteAttachments(parts);
  }

  /**
   * Network first, then the task; `created` is called between its creation and its start. When
   * anything fails everything is taken back and the reason is kept with the container.
   */
  async launch(id: string, created: () => Promise<void>): Promise<TaskState> {
    try {
      const container = await this.#plug(id);
      await this.#tellLinkers(container);
      const { agent, plane } = this.#parts;
      // The one it was made of, even if its name has gone to another.
      const image = needImage(await agent.images(), container.imageId);
      await agent.createTask(taskSpec(container, image, plane.context));
      await created();
      const state = await agent.startTask(id);
      this.#markRunning(id, state);
      return state;
    } catch (error) {
      await this.unplug(id);
      const message = errorText(error);
      const exitCode = startFailureCode(message);
      patch(this.#parts, id, { state: { error: message, exitCode, pid: 0 } });
      if (exitCode === EXIT_REFUSED) throw error;
      throw invalid(`failed to create task for container: ${message}`);
    }
  }

  /** Gives addresses, ports and sandbox back. What the kernel keeps the agent removes later. */
  async unplug(id: string): Promise<void> {
    const { registry, ports, plane, logger } = this.#parts;
    const before = registry.findContainer(id);
    if (!before) return;
    const owed = this.#remote.owe(before.attachments);
    const attachments = before.attachments
      .filter(({ implied }) => !implied)
      .map((one) => ({ ...one, active: undefined }));
    // First, or what is still in use would be given to others when this cannot be written.
    const after = patch(this.#parts, id, { attachments, bindings: [], sandbox: false });
    releaseAddresses(before.attachments, registry);
    ports.release(id);
    for (const one of before.attachments) {
      if (one.active) tellJoin(this.#parts, 'disconnect', before, one);
    }
    if (after) {
      await plane.withdraw(after, before).catch((error: unknown) => {
        logger.warn('sandbox not removed', { container: after.name, reason: errorText(error) });
      });
    }
    await this.#remote.settle(owed);
  }

  async #plug(id: string): Promise<Container> {
    const { registry } = this.#parts;
    const container = registry.container(id);
    const { mode } = container.spec;
    if (mode.kind === 'container') this.#checkPeer(mode.id);
    if (mode.kind === 'host' || mode.kind === 'container') return container;
    if (container.sandbox) {
      // Between two runs of one container addresses and ports are kept.
      await this.#parts.plane.refresh(container);
      return container;
    }
    const joined = await this.#remote.activate(container, container.attachments, (attachments) =>
      patch(this.#parts, id, { attachments, sandbox: true }),
    );
    if (!joined) throw conflict(`container ${id} is gone`);
    return this.#publish(await this.#joinRemote(joined, container), container);
  }

  /** Third-party drivers may look into the sandbox, which has to be there by then. */
  async #joinRemote(joined: Container, before: Container): Promise<Container> {
    if (!this.#remote.pending(joined)) return joined;
    try {
      await this.#parts.plane.refresh(joined, before);
      return await this.#remote.join(joined);
    } catch (error) {
      throw failed(`failed to set up container networking: ${errorText(error)}`, error);
    }
  }

  /** A port without a number that a foreign program holds is replaced by the next one. */
  async #publish(joined: Container, before: Container): Promise<Container> {
    const { ports, plane } = this.#parts;
    const refused = new Set<number>();
    for (let attempt = 1; ; attempt++) {
      ports.release(joined.id);
      const bindings = bindPorts(joined, this.#parts, refused);
      const bound = patch(this.#parts, joined.id, { bindings });
      if (!bound) throw conflict(`container ${joined.id} is gone`);
      try {
        await plane.refresh(bound, before);
        const complete = await this.#remote.program(bound);
        for (const attachment of bound.attachments)
          tellJoin(this.#parts, 'connect', bound, attachment);
        return complete;
      } catch (error) {
        const others = exchangeable(bound, error);
        if (others.length === 0 || attempt >= MAX_PORT_TRIES) {
          throw failed(`failed to set up container networking: ${errorText(error)}`, error);
        }
        for (const hostPort of others) refused.add(hostPort);
      }
    }
  }

  /** Its address may be another now, which the hosts files of others name. */
  async #tellLinkers(container: Container): Promise<void> {
    const { agent, plane } = this.#parts;
    for (const linker of linkersOf(container, plane.context)) {
      if (linker.state.status !== 'running' && linker.state.status !== 'paused') continue;
      await agent.updateFiles(linker.id, {
        hosts: hostsFile(linker, plane.context),
        resolvConf: resolvConf(linker, plane.context),
      });
    }
  }

  #checkPeer(id: string): void {
    const peer = this.#parts.registry.container(id);
    const { status } = peer.state;
    if (status === 'running' || status === 'paused') return;
    throw conflict(
      `cannot join network namespace of a non running container: container ${peer.name} is ${status}`,
    );
  }

  #markRunning(id: string, { pid }: TaskState): void {
    const current = this.#parts.registry.findContainer(id);
    patch(this.#parts, id, {
      state: {
        status: 'running',
        pid,
        error: '',
        exitCode: 0,
        oomKilled: false,
        startedAt: stamp(this.#parts.clock),
        stopped: false,
        health: current?.spec.health ? UNKNOWN_HEALTH : undefined,
      },
    });
  }
}
