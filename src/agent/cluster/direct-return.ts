import { errorText } from '../../base/errors.ts';
import { IpTool } from '../../kernel/ip.ts';
import type { NftTool } from '../../kernel/nft.ts';
import type { MeshIntent } from '../../model/cluster-intent.ts';
import type { AgentTools } from '../plane/tools.ts';
import { directTable } from './direct-table.ts';

/**
 * Keeps the table that leads clients' packets to the hosts of the tasks, whose answers do not come
 * back by this one. It looks at links that have one of the host's own addresses; what comes in by
 * others takes the ordinary way.
 */
export class DirectReturn {
  readonly #tools: AgentTools;
  readonly #nft: NftTool;
  readonly #ip: IpTool;
  readonly #name: string;
  #devices: readonly string[] = [];
  #loaded = '';

  constructor(tools: AgentTools, nft: NftTool) {
    this.#tools = tools;
    this.#nft = nft;
    this.#ip = new IpTool(tools.exec);
    this.#name = `${tools.naming.table}-direct`;
  }

  /** Returns whether anything had to be made or mended. `whole`: the kernel is read. */
  async update(tunnel: string, mesh: MeshIntent, whole: boolean): Promise<boolean> {
    if (mesh.direct.length === 0) return await this.remove(whole);
    if (whole || this.#devices.length === 0) this.#devices = await this.#find(tunnel, mesh);
    if (this.#devices.length === 0) {
      const why = 'no link has an address of this host: tasks cannot answer clients directly';
      this.#tools.logger.warn(why, { tunnel });
      return await this.remove(whole);
    }
    const text = directTable(this.#name, this.#tools.naming.mesh, this.#devices, mesh);
    const same = text === this.#loaded && !(whole && (await this.#lacking()));
    if (same) return false;
    this.#loaded = '';
    try {
      await this.#nft.run(text);
    } catch (error) {
      const what = 'tasks cannot answer clients directly, the host that was asked stays in the way';
      const need = 'the kernel needs nft_fwd_netdev, nft_fib_netdev and nft_hash';
      this.#tools.logger.warn(what, { need, message: errorText(error) });
      return await this.remove(true);
    }
    this.#loaded = text;
    return true;
  }

  async #find(tunnel: string, { sources }: MeshIntent): Promise<string[]> {
    const own = new Set([tunnel, sources.ipv4, sources.ipv6]);
    const links = await this.#ip.links();
    return links.flatMap(({ name, addresses }) =>
      name !== 'lo' && addresses.some((one) => own.has(one.split('/')[0])) ? [name] : [],
    );
  }

  async #lacking(): Promise<boolean> {
    const argv = ['nft', '-t', 'list', 'table', 'netdev', this.#name];
    const { code, stdout } = await this.#tools.exec(argv);
    const hooks = stdout.match(/meta protocol ip6 jump take6|meta protocol ip jump take4/g) ?? [];
    return code !== 0 || hooks.length !== 2 * this.#devices.length;
  }

  /** Removes the table. `whole`: also one that an earlier agent has left. */
  async remove(whole: boolean): Promise<boolean> {
    if (this.#loaded === '' && !whole) return false;
    this.#loaded = '';
    this.#devices = [];
    const argv = ['nft', 'delete', 'table', 'netdev', this.#name];
    return (await this.#tools.exec(argv)).code === 0;
  }
}
