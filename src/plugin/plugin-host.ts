import { SluiceError } from '../base/errors.ts';
import { invalid, notFound } from '../base/faults.ts';
import { findPlugin, listPlugins } from './discovery.ts';
import {
  DEFAULT_PATIENCE,
  type PluginAnswer,
  PluginClient,
  type PluginPatience,
  PluginSilence,
} from './plugin-client.ts';

/** A part of the protocol that a plugin can implement. */
export type PluginKind = 'NetworkDriver' | 'IpamDriver';

/** Where plugins are looked for and how long they are waited for. */
export type PluginOptions = {
  readonly folders: readonly string[];
  readonly patience?: PluginPatience;
};

/** Plugins that are kept activated at once. */
const MAX_PLUGINS = 64;

/** A plugin that has answered the handshake. */
type Active = { readonly client: PluginClient; readonly kinds: ReadonlySet<string> };

/**
 * The plugins of this host, found and activated when they are first asked for. One that falls
 * silent is found and activated anew at the next call, wherever it listens then.
 */
export class PluginHost {
  readonly #options: PluginOptions;
  readonly #active = new Map<string, Promise<Active>>();
  /** Kinds by name, of every plugin that was activated once. */
  readonly #known = new Map<string, ReadonlySet<string>>();

  constructor(options: PluginOptions) {
    this.#options = options;
  }

  /** Throws `plugin "X" not found`, or says that it does something else. */
  async need(name: string, kind: PluginKind): Promise<PluginClient> {
    const { client, kinds } = await this.#activate(name);
    if (kinds.has(kind)) return client;
    const list = [...kinds].join(', ') || 'nothing';
    throw invalid(`plugin "${name}" does not implement ${kind}: it implements ${list}`);
  }

  /** One call of a method of a kind, `NetworkDriver.Join` for example. */
  async call(name: string, kind: PluginKind, method: string, body: unknown): Promise<PluginAnswer> {
    const client = await this.need(name, kind);
    try {
      return await client.call(`${kind}.${method}`, body);
    } catch (error) {
      if (error instanceof PluginSilence) this.#active.delete(name);
      throw error;
    }
  }

  /** Names of what was activated and of what lies in the folders and is yet to be asked. */
  names(kind: PluginKind): string[] {
    const found = listPlugins(this.#options.folders);
    const all = [...this.#known].filter(([, kinds]) => kinds.has(kind)).map(([name]) => name);
    return all.filter((name) => found.includes(name)).sort();
  }

  async #activate(name: string): Promise<Active> {
    const known = this.#active.get(name);
    if (known) return known;
    const active = this.#handshake(name);
    if (this.#active.size >= MAX_PLUGINS) this.#active.clear();
    this.#active.set(name, active);
    active.catch(() => this.#active.delete(name));
    return active;
  }

  async #handshake(name: string): Promise<Active> {
    const address = findPlugin(this.#options.folders, name);
    if (!address) throw notFound(`plugin "${name}" not found`);
    const client = new PluginClient(name, address, this.#options.patience ?? DEFAULT_PATIENCE);
    const { Implements } = await client.call('Plugin.Activate', {});
    if (!Array.isArray(Implements)) {
      throw new SluiceError(
        'E_PLUGIN_ANSWER',
        `plugin "${name}": Plugin.Activate: its answer has no list "Implements"`,
      );
    }
    const kinds = new Set(Implements.map(String));
    this.#known.set(name, kinds);
    return { client, kinds };
  }
}
