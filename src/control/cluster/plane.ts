import { errorText } from '../../base/errors.ts';
import { failed } from '../../base/faults.ts';
import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import type { ClusterTask, NodeAssignment, OverlayNetwork } from '../../model/cluster.ts';
import type { ClusterIntent } from '../../model/cluster-intent.ts';
import type { AttachmentRequest } from '../../model/container.ts';
import type { NameRecord } from '../../model/host-intent.ts';
import type { Network } from '../../model/network.ts';
import type { Engine } from '../engine.ts';
import { BRIDGE_OPTIONS, type NetworkRequest } from '../network-request.ts';
import type { LinkAddresses } from './addresses.ts';
import { clusterIntent, clusterNames, joined, type LocalHost } from './compile/cluster-intent.ts';
import { both4and6 } from './compile/names.ts';
import { toldNetwork } from './networks.ts';
import { plainAttachment, TASK_LABEL } from './task-order.ts';
import type { ClusterPlane } from './worker.ts';

/** The bridge by which tasks reach the outside, and published ports reach tasks. */
const GATEWAY_BRIDGE = 'docker_gwbridge';
/** Marks the bridge as made here, and not by an operator who wants it otherwise. */
const MADE_LABEL = 'sluice.gateway-bridge';
export type PlaneDeps = {
  readonly engine: Engine;
  /** Of its network stack: another one after each boot. */
  readonly epoch: string;
  /** This host's id in its cluster; undefined: it is of none. */
  nodeId(): string | undefined;
  /** Addresses that others may reach this host at. */
  links(): readonly LinkAddresses[];
  /** The gateway of this host; undefined: it has none. */
  readonly edge?: Edge | undefined;
};

/** A gateway that takes requests to services of the cluster. */
export interface Edge {
  /** Resolves when nothing new goes to a task that does not serve any more. */
  show(assignment: NodeAssignment, host: LocalHost | undefined): Promise<void>;
}

function gatewayRequest(link: string | undefined): NetworkRequest {
  return {
    ...{ name: GATEWAY_BRIDGE, driver: 'bridge', scope: 'local', ipv4: true, ipv6: true },
    ...{ ipamDriver: 'default', ipamOptions: {}, blocks: [], internal: false, attachable: false },
    ...{ ingress: false, configOnly: false, configFrom: undefined },
    options: {
      [BRIDGE_OPTIONS.icc]: 'false',
      [BRIDGE_OPTIONS.masquerade]: 'true',
      ...(link === undefined ? {} : { [BRIDGE_OPTIONS.name]: link }),
    },
    labels: { [MADE_LABEL]: '' },
  };
}

/** Shows the networks and services of an assignment on this host. */
export class HostClusterPlane implements ClusterPlane {
  readonly #deps: PlaneDeps;
  #assignment: NodeAssignment = NO_ASSIGNMENT;
  #last: Promise<unknown> = Promise.resolve();
  /** The one that has yet to begin: it shows what there is by then, for all who ask until then. */
  #next: Promise<void> | undefined;

  constructor(deps: PlaneDeps) {
    this.#deps = deps;
  }

  /** What the engine's start is to show at once: what was shown last. */
  hold(assignment: NodeAssignment): void {
    this.#assignment = assignment;
    this.#deps.engine.plane.hold(...this.#parts());
  }

  show(assignment: NodeAssignment): Promise<void> {
    this.#assignment = assignment;
    return this.refresh();
  }

  refresh(): Promise<void> {
    this.#next ??= this.#last.then(() => {
      this.#next = undefined;
      return this.#show();
    });
    this.#last = this.#next.catch(() => {});
    return this.#next;
  }

  attachments(task: ClusterTask): readonly AttachmentRequest[] {
    const joins = task.template.networks.map((request): AttachmentRequest => {
      const overlay = this.#overlay(request.network);
      if (!overlay) return request;
      const own = both4and6(task.addresses, task.addresses6, overlay.id);
      const [ipv4, ipv6] = [false, true].map((six) => own.find((one) => one.includes(':') === six));
      const { driverOptions } = request;
      // Names are the service's, which its address answers to.
      return {
        ...{ ...plainAttachment(overlay.id), driverOptions },
        ...{ ipv4, ipv6 },
      };
    });
    return this.#needsGateway(task) ? [...joins, plainAttachment(GATEWAY_BRIDGE)] : joins;
  }

  /** The bridge to the outside, made if need be. */
  async gateway(): Promise<Network> {
    const made = this.#last.then(() => this.#gateway ?? this.#createGateway());
    this.#last = made.catch(() => {});
    return await made;
  }

  #overlay(network: string): OverlayNetwork | undefined {
    return this.#assignment.networks.find(({ id, ingress }) => id === network && !ingress);
  }

  /** Whether it is reached from outside its overlays, or may reach what is outside its overlays. */
  #needsGateway({ template, ports, addresses }: ClusterTask): boolean {
    const overlays = template.networks.flatMap(({ network }) => this.#overlay(network) ?? []);
    if (overlays.some(({ internal }) => !internal)) return true;
    const meshed = this.#assignment.networks.some(({ id, ingress }) => ingress && addresses[id]);
    return meshed || (overlays.length > 0 && ports.some(({ mode }) => mode === 'host'));
  }

  async #show(): Promise<void> {
    const { engine } = this.#deps;
    const faults: string[] = [];
    const attempt = async (work: () => Promise<void>) => {
      await work().catch((error: unknown) => faults.push(errorText(error)));
    };
    const overlays = joined(this.#assignment);
    for (const one of overlays) await attempt(() => engine.networks.adopt(toldNetwork(one)));
    await attempt(() => this.#makeGateway());
    await attempt(() => engine.plane.join(...this.#parts()));
    await attempt(async () => this.#deps.edge?.show(this.#assignment, this.#host()));
    const wanted = new Set(overlays.map(({ id }) => id));
    for (const { id, scope } of [...engine.registry.networks]) {
      if (scope === 'swarm' && !wanted.has(id)) await attempt(() => engine.networks.abandon(id));
    }
    await attempt(() => this.#dropGateway());
    if (faults.length > 0) throw failed(faults.join('; '));
  }

  get #gateway(): Network | undefined {
    return this.#deps.engine.registry.findNetworkNamed(GATEWAY_BRIDGE);
  }

  async #makeGateway(): Promise<void> {
    if (this.#gateway || !this.#assignment.tasks.some((task) => this.#needsGateway(task))) return;
    await this.#createGateway();
  }

  async #createGateway(): Promise<Network> {
    const { networks, facts } = this.#deps.engine;
    // Another engine on this host may have a link of this name.
    const free = !facts.hasLink(GATEWAY_BRIDGE);
    return await networks.create(gatewayRequest(free ? GATEWAY_BRIDGE : undefined));
  }

  /** Outside a cluster nobody needs it. */
  async #dropGateway(): Promise<void> {
    const { networks, registry } = this.#deps.engine;
    const gateway = this.#gateway;
    if (this.#deps.nodeId() !== undefined || gateway?.labels[MADE_LABEL] === undefined) return;
    if (registry.attachedTo(gateway.id).length === 0) await networks.remove(gateway.id);
  }

  #parts(): [ClusterIntent, readonly NameRecord[]] {
    const host = this.#host();
    if (host) return [clusterIntent(this.#assignment, host), clusterNames(this.#assignment, host)];
    const encryption = { epoch: this.#deps.epoch, keys: [], peers: [] };
    const nothing: ClusterIntent = {
      ...{ tunnel: { local: '', port: 0 }, overlays: [], peers: [], vips: [], mesh: undefined },
      ...{ admissions: [], encryption },
    };
    return [nothing, []];
  }

  /** Undefined: this host is not among the nodes that it was told of. */
  #host(): LocalHost | undefined {
    const nodeId = this.#deps.nodeId();
    const self = this.#assignment.peers.find((peer) => peer.nodeId === nodeId);
    if (!self) return undefined;
    const { address, dataPathAddress, dataPathPort } = self;
    const link = this.#deps
      .links()
      .find(({ addresses }) => addresses.includes(address) || addresses.includes(dataPathAddress));
    const own = [address, ...(link?.addresses ?? [])];
    return {
      ...{ nodeId: self.nodeId, epoch: this.#deps.epoch },
      tunnel: { local: dataPathAddress, port: dataPathPort },
      sources: {
        ipv4: own.find((one) => !one.includes(':')),
        ipv6: own.find((one) => one.includes(':')),
      },
      gatewayAddresses: this.#gatewayAddresses(),
    };
  }

  #gatewayAddresses(): Map<string, readonly string[]> {
    const id = this.#gateway?.id;
    const found = new Map<string, readonly string[]>();
    for (const { spec, attachments } of this.#deps.engine.registry.containers) {
      const task = spec.labels[TASK_LABEL];
      const { active } = attachments.find(({ networkId }) => networkId === id) ?? {};
      if (task === undefined || !active) continue;
      const leases = [active.ipv4, active.ipv6].flatMap((lease) => lease?.address ?? []);
      found.set(task, leases);
    }
    return found;
  }
}
