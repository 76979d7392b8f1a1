import { createHash, hkdfSync } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { errorText } from '../../base/errors.ts';
import { IpTool } from '../../kernel/ip.ts';
import {
  dropPolicyLine,
  dropStateLine,
  policyLine,
  readPolicies,
  readStates,
  stateLine,
  type XfrmPolicy,
  type XfrmState,
} from '../../kernel/xfrm.ts';
import type { ClusterIntent } from '../../model/cluster-intent.ts';
import type { AgentTools } from '../plane/tools.ts';

type Encryption = ClusterIntent['encryption'];

type End = { readonly tunnel: string; readonly epoch: string };

const OWN_END: End = { tunnel: '127.0.0.1', epoch: '' };
/** Of key and salt. Source: RFC 4106 section 8.1 */
const KEY_BYTES = 20;
const PEER_PRIORITY = 100;
const REST_PRIORITY = 200;
/** Below 256 are reserved. Source: RFC 4303 section 2.1 */
const KEY_SLOTS = 255;

/** Port of the tunnels that are encrypted, beside the others' one. */
export function encryptedPort({ port }: ClusterIntent['tunnel']): number {
  return port + 1;
}

/** Key's place in an SPI, in its first byte. */
const slotOf = (keyId: number) => 1 + (keyId % KEY_SLOTS);

/** Both ends work out the same: the key's place, then what tells sources apart at one receiver. */
function spiOf(source: string, keyId: number): number {
  const bytes = isIPv6(source)
    ? createHash('sha256').update(source).digest().subarray(0, 3)
    : Buffer.from(source.split('.').slice(1).map(Number));
  return slotOf(keyId) * 2 ** 24 + bytes.readUIntBE(0, 3);
}

const whole = (address: string) => `${address}/${isIPv6(address) ? 128 : 32}`;
const anywhere = (address: string) => (isIPv6(address) ? '::/0' : '0.0.0.0/0');

const stateKey = ({ source, destination, spi }: XfrmState) => `${source} ${destination} ${spi}`;
const policyKey = ({ direction, source, destination }: XfrmPolicy) =>
  `${direction} ${source} ${destination}`;

/**
 * ESP around the tunnels of encrypted overlays, and around nothing else: those have a port of their
 * own, to and from which nothing goes in the clear. Every pair of hosts has its own keys in either
 * direction, derived from the cluster's and from both hosts' boots, so that numbers which begin anew
 * never meet an old key. All keys are taken; the one before the newest is sent with, which every
 * host has had for a whole period.
 */
export class TunnelEncryption {
  readonly #tools: AgentTools;
  readonly #ip: IpTool;
  readonly #reqid: number;
  #done = '';

  constructor(tools: AgentTools) {
    this.#tools = tools;
    this.#ip = new IpTool(tools.exec);
    // Tells ours from others'; 0 means none.
    const digest = createHash('sha256').update(tools.naming.table).digest();
    this.#reqid = (digest.readUInt32BE(0) % (2 ** 31 - 1)) + 1;
  }

  /**
   * `wanted`: an overlay here is to be encrypted. `again`: everything is read from the kernel.
   * Returns whether anything had to be made. Throws when the kernel has no ESP with AES-GCM.
   */
  async update(
    tunnel: ClusterIntent['tunnel'],
    encryption: Encryption,
    wanted: boolean,
    again: boolean,
  ): Promise<boolean> {
    const text = JSON.stringify([tunnel, encryption, wanted]);
    if (text === this.#done && !again) return false;
    if (!wanted && this.#done === '' && !(await this.#known(encryptedPort(tunnel)))) return false;
    try {
      const changed = await this.#make(tunnel, encryption, wanted);
      this.#done = text;
      return changed;
    } catch (error) {
      this.#done = '';
      const need = 'the kernel needs ESP with AES-GCM (modules xfrm_user, esp4, esp6, gcm)';
      throw new Error(`tunnels cannot be encrypted: ${need}: ${errorText(error)}`);
    }
  }

  /** Whether something of ours is left from before; a kernel without all of it has nothing. */
  async #known(port: number): Promise<boolean> {
    try {
      const { exec } = this.#tools;
      const [states, policies] = [
        await readStates(exec, this.#reqid),
        await readPolicies(exec, port),
      ];
      return states.length + policies.length > 0;
    } catch {
      return false;
    }
  }

  async #make(
    tunnel: ClusterIntent['tunnel'],
    encryption: Encryption,
    wanted: boolean,
  ): Promise<boolean> {
    const { exec } = this.#tools;
    const states = this.#states(tunnel.local, encryption);
    const policies = wanted ? this.#policies(tunnel, encryption) : [];
    const thereStates = await readStates(exec, this.#reqid);
    const therePolicies = await readPolicies(exec, encryptedPort(tunnel));
    const has = new Map(thereStates.map((one) => [stateKey(one), one]));
    const slots = new Set(encryption.keys.map(({ id }) => slotOf(id)));
    const listed = new Set(encryption.peers.map((peer) => peer.tunnel));
    const stale = thereStates.filter((one) => {
      const expected = states.get(stateKey(one));
      if (expected) return expected.key !== one.key;
      // Of a host that has nothing in common just now: its numbers go on when it has again.
      const other = one.source === tunnel.local ? one.destination : one.source;
      return listed.has(other) || !slots.has(Math.floor(one.spi / 2 ** 24));
    });
    const missing = [...states].flatMap(([key, one]) =>
      has.get(key)?.key === one.key ? [] : [one],
    );
    const shown = new Set(therePolicies.map((one) => JSON.stringify(one)));
    const kept = new Set(policies.map(policyKey));
    const replaced = stale.filter((one) => states.has(stateKey(one)));
    // A kernel that cannot do it says so before there is anybody to talk to.
    const trial = this.#state(OWN_END, OWN_END, 0, '');
    const lines = [
      ...(wanted && states.size === 0 ? [stateLine(trial), dropStateLine(trial)] : []),
      ...replaced.map(dropStateLine),
      ...missing.map(stateLine),
      ...policies.filter((one) => !shown.has(JSON.stringify(one))).map(policyLine),
      ...therePolicies.filter((one) => !kept.has(policyKey(one))).map(dropPolicyLine),
      ...stale.filter((one) => !replaced.includes(one)).map(dropStateLine),
    ];
    await this.#ip.run(lines);
    return lines.length > 0;
  }

  #states(local: string, { keys, peers, epoch }: Encryption): Map<string, XfrmState> {
    const sending = sendingKey(keys);
    const all = peers.flatMap((peer) => {
      const made = ({ id, key }: { id: number; key: string }, [from, to]: readonly End[]) =>
        from && to ? [this.#state(from, to, id, key)] : [];
      const [here, there] = [
        { tunnel: local, epoch },
        { tunnel: peer.tunnel, epoch: peer.epoch },
      ];
      return [
        ...keys.flatMap((key) => made(key, [there, here])),
        ...(sending ? made(sending, [here, there]) : []),
      ];
    });
    return new Map(all.map((one) => [stateKey(one), one]));
  }

  #state(from: End, to: End, id: number, key: string): XfrmState {
    const [source, destination] = [from.tunnel, to.tunnel];
    const about = `sluice overlay ${id} ${source} ${from.epoch} ${destination} ${to.epoch}`;
    const derived = hkdfSync('sha256', Buffer.from(key, 'hex'), '', about, KEY_BYTES);
    const spi = spiOf(source, id);
    return {
      source,
      destination,
      spi,
      reqid: this.#reqid,
      key: Buffer.from(derived).toString('hex'),
    };
  }

  #policies(tunnel: ClusterIntent['tunnel'], { keys, peers }: Encryption): XfrmPolicy[] {
    const { local } = tunnel;
    const port = encryptedPort(tunnel);
    const rest = { port, priority: REST_PRIORITY, reqid: undefined, spi: undefined };
    const sending = sendingKey(keys);
    const ours = { port, priority: PEER_PRIORITY, reqid: this.#reqid };
    return [
      { direction: 'out', source: whole(local), destination: anywhere(local), ...rest },
      { direction: 'in', source: anywhere(local), destination: whole(local), ...rest },
      ...(sending ? peers : []).flatMap(({ tunnel: peer }): XfrmPolicy[] => [
        {
          ...{ direction: 'out', source: whole(local), destination: whole(peer), ...ours },
          spi: spiOf(local, sending?.id ?? 0),
        },
        {
          ...{ direction: 'in', source: whole(peer), destination: whole(local), ...ours },
          spi: undefined,
        },
      ]),
    ];
  }
}

/** The newest key has perhaps not reached everybody. */
function sendingKey(keys: Encryption['keys']): Encryption['keys'][number] | undefined {
  return keys.at(-2) ?? keys.at(-1);
}
