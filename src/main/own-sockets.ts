import { answers } from '../api/unix-socket.ts';
import { SluiceError } from '../base/errors.ts';
import type { HandoverMessage } from '../gateway/supervisor/handover.ts';
import { type Bind, formatBind } from '../model/address.ts';
import { bindExclusive, type NativeHandle } from '../net/handles.ts';

/** The listening sockets of the supervisor's own process, which pass to a successor like the others. */
export class OwnSockets {
  readonly #inherited: Map<string, NativeHandle>;
  readonly #open = new Map<string, NativeHandle>();

  constructor(inherited: ReadonlyMap<string, NativeHandle>) {
    this.#inherited = new Map(inherited);
  }

  /**
   * The socket of an address: a predecessor's, or a new one. Throws `E_BIND_FAILED`, also when
   * another process answers at a unix path.
   */
  async open(bind: Bind): Promise<NativeHandle> {
    const address = formatBind(bind);
    if (bind.kind === 'fd') {
      throw new SluiceError('E_BIND_FAILED', `${address}: only a listener can take a descriptor`);
    }
    const inherited = this.#inherited.get(address);
    if (!inherited && bind.kind === 'unix' && (await answers(bind.path))) {
      throw new SluiceError('E_BIND_FAILED', `${address}: another process answers there`);
    }
    const handle = inherited ?? bindExclusive(bind);
    this.#inherited.delete(address);
    this.#open.set(address, handle);
    return handle;
  }

  handOver(send: (message: HandoverMessage, handle: NativeHandle) => void): void {
    for (const [address, handle] of this.#open) send({ type: 'own', address }, handle);
  }

  /** Closes what a predecessor left and nobody has asked for. */
  dropInherited(): void {
    for (const handle of this.#inherited.values()) handle.close();
    this.#inherited.clear();
  }
}
