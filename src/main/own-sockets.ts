import { SluiceError } from '../base/errors.ts';
import type { HandoverMessage } from '../gateway/supervisor/handover.ts';
import { type Bind, formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { bindExclusive, type NativeHandle, removePath } from '../net/handles.ts';
import { answers } from '../net/unix-socket.ts';

/** Who serves on a socket of the supervisor's own process. */
export type Owner = 'admin' | 'runtime' | 'demo';

type OpenSocket = { readonly owner: Owner; readonly bind: Bind; readonly handle: NativeHandle };

/** A step between two sets of sockets: one of the two has to be called. */
export type SocketChange = {
  /** Forgets what is not wanted any more; whoever serves there has closed it. */
  commit(): void;
  /** Closes what was opened. */
  abort(): void;
};

function wantedBy({ admin, demo }: GatewayConfig): { owner: Owner; bind: Bind }[] {
  return [
    ...(admin?.bind ?? []).map((bind) => ({ owner: 'admin' as const, bind })),
    ...(admin?.runtime?.bind ?? []).map((bind) => ({ owner: 'runtime' as const, bind })),
    ...(demo?.whoami ?? []).map((bind) => ({ owner: 'demo' as const, bind })),
  ];
}

/** The listening sockets of the supervisor's own process, which pass to a successor like the others. */
export class OwnSockets {
  readonly #inherited: Map<string, NativeHandle>;
  readonly #open = new Map<string, OpenSocket>();

  constructor(inherited: ReadonlyMap<string, NativeHandle>) {
    this.#inherited = new Map(inherited);
  }

  /**
   * Opens what a configuration adds, all or nothing. Throws `E_BIND_FAILED`, also when another
   * process answers at a unix path.
   */
  async prepare(config: GatewayConfig): Promise<SocketChange> {
    const wanted = wantedBy(config);
    const added: string[] = [];
    const abort = () => {
      for (const address of added) {
        this.#open.get(address)?.handle.close();
        this.#open.delete(address);
      }
    };
    try {
      for (const { owner, bind } of wanted) {
        const address = formatBind(bind);
        const known = this.#open.get(address);
        if (known?.owner === owner) continue;
        if (known) {
          const why = `${address}: ${known.owner} listens there until a reload without it`;
          throw new SluiceError('E_BIND_FAILED', why);
        }
        this.#open.set(address, { owner, bind, handle: await this.#take(bind, address) });
        added.push(address);
      }
    } catch (error) {
      abort();
      throw error;
    }
    const kept = new Set(wanted.map(({ bind }) => formatBind(bind)));
    const commit = () => {
      for (const [address, { bind }] of this.#open) {
        if (kept.has(address)) continue;
        this.#open.delete(address);
        if (bind.kind === 'unix') removePath(bind.path);
      }
    };
    return { commit, abort };
  }

  /** The socket of an address that has been prepared. */
  handle(owner: Owner, bind: Bind): NativeHandle {
    const address = formatBind(bind);
    const found = this.#open.get(address);
    if (found?.owner !== owner) throw new Error(`no socket of ${owner} at ${address}`);
    return found.handle;
  }

  async #take(bind: Bind, address: string): Promise<NativeHandle> {
    if (bind.kind === 'fd') {
      throw new SluiceError('E_BIND_FAILED', `${address}: only a listener can take a descriptor`);
    }
    const inherited = this.#inherited.get(address);
    if (!inherited && bind.kind === 'unix' && (await answers(bind.path))) {
      throw new SluiceError('E_BIND_FAILED', `${address}: another process answers there`);
    }
    this.#inherited.delete(address);
    return inherited ?? bindExclusive(bind);
  }

  handOver(send: (message: HandoverMessage, handle: NativeHandle) => void): void {
    for (const [address, { handle }] of this.#open) send({ type: 'own', address }, handle);
  }

  /** Closes what a predecessor left and nobody has asked for. */
  dropInherited(): void {
    for (const handle of this.#inherited.values()) handle.close();
    this.#inherited.clear();
  }
}
