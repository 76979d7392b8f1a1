import { isIP } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { MAX_ATTACHMENTS } from '../../link/cluster-protocol.ts';
import { type AttachmentWish, type ClusterAttachment, KIND } from '../../model/cluster.ts';
import { isStale } from '../../store/edit.ts';
import type { Change } from '../../store/embedded-store.ts';
import { packed, type Store } from '../../store/store.ts';
import { attachmentsOf, networksOf } from './cluster-state.ts';
import { newClusterId } from './identity/tokens.ts';

const RETRY_MS = 500;
const MAX_TEXT = 256;
const MAX_NAMES = 64;

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, MAX_TEXT) : '';
}

/** A wish as a node sent it, with nothing in it but what belongs there; none: it makes no sense. */
export function readWish(value: unknown): AttachmentWish[] {
  const fields: Partial<Record<keyof AttachmentWish, unknown>> = Object(value);
  const [endpointId, containerId] = [text(fields.endpointId), text(fields.containerId)];
  const [network, mac] = [text(fields.network), text(fields.mac)];
  const [ipv4, ipv6] = [text(fields.ipv4), text(fields.ipv6)];
  if (endpointId === '' || containerId === '' || network === '') return [];
  const names = Array.isArray(fields.names) ? fields.names.slice(0, MAX_NAMES).map(text) : [];
  return [
    {
      ...{ endpointId, containerId, network, names: names.filter((name) => name !== '') },
      ipv4: isIP(ipv4) === 4 ? ipv4 : undefined,
      ipv6: isIP(ipv6) === 6 ? ipv6 : undefined,
      mac: /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) ? mac : undefined,
    },
  ];
}

/** Brings the attachments of nodes in the state to what these ask for, many at once. */
export class AttachmentWriter {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By node: what it asked for last and what has not been looked at since. */
  readonly #waiting = new Map<string, readonly AttachmentWish[]>();
  #writing = false;
  #closed = false;

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Takes all that a node asks for. */
  take(nodeId: string, wishes: readonly unknown[]): void {
    this.#waiting.set(nodeId, wishes.slice(0, MAX_ATTACHMENTS).flatMap(readWish));
    void this.#run();
  }

  close(): void {
    this.#closed = true;
  }

  async #run(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      for (const [nodeId, wishes] of this.#waiting) {
        if (this.#closed) return;
        this.#waiting.delete(nodeId);
        await this.#settle(nodeId, wishes);
      }
    } finally {
      this.#writing = false;
    }
  }

  async #settle(nodeId: string, wishes: readonly AttachmentWish[]): Promise<void> {
    try {
      const groups = this.#changes(nodeId, wishes).map((change) => [change]);
      for (const pack of packed(groups)) await this.#store.update(pack.flat());
    } catch (error) {
      if (!this.#waiting.has(nodeId)) this.#waiting.set(nodeId, wishes);
      if (isStale(error)) return;
      this.#logger.warn('attachments wait for the store', { reason: errorText(error) });
      await new Promise<void>((resolve) => void this.#clock.after(RETRY_MS, resolve));
    }
  }

  #changes(nodeId: string, wishes: readonly AttachmentWish[]): Change[] {
    const own = attachmentsOf(this.#store).filter(({ value }) => value.nodeId === nodeId);
    const there = new Map(own.map((one) => [one.value.endpointId, one]));
    const wanted = new Map(wishes.map((wish) => [wish.endpointId, wish]));
    const open = new Set(
      networksOf(this.#store).flatMap(({ value }) => (value.spec.attachable ? value.id : [])),
    );
    const gone = own.filter(({ value }) => !wanted.has(value.endpointId));
    const put = [...wanted].flatMap(([key, wish]): Change[] => {
      const { version, value } = there.get(key) ?? { version: 0, value: undefined };
      if (!value && !open.has(wish.network)) return [];
      const next = value ? renewed(value, wish) : fresh(nodeId, wish);
      return next
        ? [{ ...{ kind: KIND.attachment, id: next.id, expected: version }, value: next }]
        : [];
    });
    const drop = gone.map(({ version, value: { id } }) => ({
      ...{ kind: KIND.attachment, id, value: undefined, expected: version },
    }));
    return [...drop, ...put];
  }
}

function fresh(nodeId: string, wish: AttachmentWish): ClusterAttachment {
  return { ...wish, id: newClusterId(), nodeId, address: '', address6: '', error: '' };
}

/** A container may get other names while it is there; undefined: it has them. */
function renewed(
  value: ClusterAttachment,
  { names }: AttachmentWish,
): ClusterAttachment | undefined {
  return names.join() === value.names.join() ? undefined : { ...value, names };
}
