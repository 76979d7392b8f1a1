import { errorText } from '../../../base/errors.ts';
import {
  type Cluster,
  type ClusterNetwork,
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServicePort,
} from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { timestamp } from '../../ids.ts';
import { isActive, isOver, type Versioned } from '../cluster-state.ts';
import { AddressLedger, type Lease, type Leases } from './address-ledger.ts';
import { Attached } from './attached.ts';
import { Drafts, planOf } from './drafts.ts';
import { completeNetwork, lacksSegments, OVERLAY } from './network-plan.ts';
import { givePorts, PortLedger } from './ports.ts';
import { inMesh } from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/** What a task says that has everything but a node. */
const ALLOCATED = 'pending task scheduling';
const NO_LEASES: Leases = new Map();

function leasesOf(
  addresses: Readonly<Record<string, string>>,
  addresses6: Readonly<Record<string, string>> | undefined,
): Leases {
  const entries = Object.entries(addresses);
  return new Map(
    entries.map(([network, address]) => [network, { address, address6: addresses6?.[network] }]),
  );
}

function firsts(leases: Leases): Record<string, string> {
  return Object.fromEntries([...leases].map(([network, { address }]) => [network, address]));
}

function seconds(leases: Leases): Record<string, string> | undefined {
  const found = [...leases].flatMap(([network, { address6 }]) =>
    address6 === undefined ? [] : [[network, address6]],
  );
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

function sameRecord(
  a: Readonly<Record<string, string>> = {},
  b: Readonly<Record<string, string>> = {},
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

function samePorts(a: readonly ServicePort[], b: readonly ServicePort[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Networks by id, and why those are not all. */
type Joined = { readonly ids: readonly string[]; readonly fault: string | undefined };

/**
 * Gives networks their subnets and VNIs, services their addresses and ports, tasks and attachments
 * their addresses. Everything that is given is in the state, and a new allocator reads it from
 * there. Addresses of tasks that are over, and whatever was an object's that is gone, are free again.
 */
export class Allocator implements Stage {
  readonly #addresses = new AddressLedger();
  readonly #attached = new Attached(this.#addresses);
  readonly #ports = new PortLedger();
  readonly #drafts = {
    network: new Drafts<ClusterNetwork>(KIND.network),
    service: new Drafts<ClusterService>(KIND.service),
    task: new Drafts<ClusterTask>(KIND.task),
  };
  /** What has not got everything, by id. */
  readonly #waiting = {
    networks: new Set<string>(),
    services: new Set<string>(),
    tasks: new Set<string>(),
  };
  /** Why networks and services lack something, by id. */
  readonly #faults = new Map<string, string>();
  #lastVni = 0;
  #ingress: string | undefined;

  plan(view: ClusterView, touched: Touched, _now: number, wall: number): Plan {
    for (const id of touched.networks) this.#settleNetwork(view, id);
    for (const id of touched.services) this.#settleService(view, id);
    for (const id of touched.tasks) this.#settleTask(view, id);
    for (const id of touched.attachments) this.#attached.settle(view, id);
    const services = touched.networks.size > 0 ? view.services.keys() : touched.services;
    for (const id of services) this.#waiting.services.add(id);
    return planOf([
      ...this.#completeNetworks(view),
      ...this.#serveServices(view),
      ...this.#attached.serve(view, (id) =>
        this.#addresses.has(id) ? this.#faultOf(view, id) : this.#faults.get(id),
      ),
      ...this.#serveTasks(view, timestamp(wall)),
    ]);
  }

  #settleNetwork({ networks }: ClusterView, id: string): void {
    const found = networks.get(id);
    this.#drafts.network.of(id, found);
    this.#addresses.define(id, found?.value);
    this.#faults.delete(id);
    if (found && lacksSegments(found.value)) this.#waiting.networks.add(id);
    else this.#waiting.networks.delete(id);
    if (found?.value.spec.ingress) this.#ingress = id;
    else if (this.#ingress === id) this.#ingress = undefined;
  }

  /** Takes over what the state says of a service; what was planned for it stands. */
  #settleService(view: ClusterView, id: string): void {
    const found = view.services.get(id);
    if (this.#drafts.service.of(id, found)) return;
    const service = found?.value;
    this.#ports.settle(id, service?.ports ?? []);
    const leases = service ? leasesOf(service.vips, service.vips6) : NO_LEASES;
    this.#addresses.settle(id, leases, 'vip');
    if (!service) this.#faults.delete(id);
  }

  #settleTask(view: ClusterView, id: string): void {
    const found = view.tasks.get(id);
    if (this.#drafts.task.of(id, found)) return;
    const task = found && !isOver(found.value.report.state) ? found.value : undefined;
    const leases = task ? leasesOf(task.addresses, task.addresses6) : NO_LEASES;
    this.#addresses.settle(id, leases, 'task');
    if (task?.report.state === 'new') this.#waiting.tasks.add(id);
    else this.#waiting.tasks.delete(id);
  }

  #completeNetworks(view: ClusterView): Change[] {
    const { networks, cluster } = view;
    if (!cluster || this.#waiting.networks.size === 0) return [];
    const known = new Map(
      [...networks].map(([id, found]) => [id, this.#drafts.network.of(id, found) ?? found.value]),
    );
    return [...this.#waiting.networks].flatMap((id) => {
      const [found, latest] = [networks.get(id), known.get(id)];
      if (!found || !latest) return [];
      const next = lacksSegments(latest) ? this.#complete(latest, known, cluster) : latest;
      if (!next) return [];
      known.set(id, next);
      return [this.#drafts.network.put(found.version, next)];
    });
  }

  /** Undefined: it cannot be had now, as `#faults` says. */
  #complete(
    network: ClusterNetwork,
    known: ReadonlyMap<string, ClusterNetwork>,
    cluster: Cluster,
  ): ClusterNetwork | undefined {
    const { id, name } = network;
    const others = [...known.values()].filter((other) => other.id !== id);
    try {
      const complete = completeNetwork(network, others, cluster, this.#lastVni);
      this.#lastVni = complete.segments.at(-1)?.vni ?? this.#lastVni;
      this.#faults.delete(id);
      return complete;
    } catch (error) {
      this.#faults.set(id, `network ${name} has no subnet: ${errorText(error)}`);
      return undefined;
    }
  }

  #serveServices(view: ClusterView): Change[] {
    const found = [...this.#waiting.services].flatMap((id) => view.services.get(id) ?? []);
    this.#waiting.services.clear();
    // Ports that are asked for come before those that are chosen.
    for (const { value } of found) {
      for (const port of value.spec.ports) this.#ports.claim(value.id, port);
    }
    return found.flatMap((service) => this.#serveService(view, service));
  }

  #serveService(view: ClusterView, { version, value }: Versioned<ClusterService>): Change[] {
    const { id } = value;
    const draft = this.#drafts.service.of(id, { version, value });
    const next = draft ?? this.#equip(view, value);
    if (this.#faults.has(id)) this.#waiting.services.add(id);
    const { vips, vips6, ports } = next;
    const same = sameRecord(vips, value.vips) && sameRecord(vips6, value.vips6);
    if (same && samePorts(ports, value.ports)) return [];
    this.#waiting.services.add(id);
    return [this.#drafts.service.put(version, next)];
  }

  /** The service with all that can be had now; `#faults` says what is missing. */
  #equip(view: ClusterView, service: ClusterService): ClusterService {
    const { id, spec } = service;
    const nameOf = (other: string) => view.services.get(other)?.value.name ?? '';
    const { ports, fault } = givePorts(service, this.#ports, nameOf);
    const joined = this.#networksOf(view, spec.template, inMesh(spec));
    const wanted = { ...joined, ids: spec.resolution === 'vip' ? joined.ids : [] };
    const given = this.#give(view, id, wanted, 'vip');
    const why = fault ?? given.fault;
    if (why === undefined) this.#faults.delete(id);
    else this.#faults.set(id, why);
    const { vips6: _, ...rest } = service;
    const vips6 = seconds(given.leases);
    return { ...rest, ports, vips: firsts(given.leases), ...(vips6 ? { vips6 } : {}) };
  }

  #serveTasks(view: ClusterView, at: string): Change[] {
    return [...this.#waiting.tasks].flatMap((id) => {
      const found = view.tasks.get(id);
      if (!found || !isActive(found.value)) return [];
      const next = this.#drafts.task.of(id, found) ?? this.#address(view, found.value, at);
      return next ? [this.#drafts.task.put(found.version, next)] : [];
    });
  }

  /** Undefined: it waits, as it says already. */
  #address(view: ClusterView, task: ClusterTask, at: string): ClusterTask | undefined {
    const { id, template, report } = task;
    const given = this.#give(view, id, this.#networksOf(view, template, inMesh(task)), 'task');
    const fault = this.#faults.get(task.serviceId) ?? given.fault;
    if (fault !== undefined) {
      this.#addresses.settle(id, NO_LEASES, 'task');
      if (report.error === fault) return undefined;
      return { ...task, report: { ...report, at, message: fault, error: fault } };
    }
    const { addresses6: _, ...rest } = task;
    const addresses6 = seconds(given.leases);
    return {
      ...rest,
      addresses: firsts(given.leases),
      ...(addresses6 ? { addresses6 } : {}),
      report: { ...report, state: 'pending', at, message: ALLOCATED, error: '' },
    };
  }

  #give(
    view: ClusterView,
    owner: string,
    { ids, fault }: Joined,
    use: 'task' | 'vip',
  ): { leases: Leases; fault: string | undefined } {
    const leases = new Map<string, Lease>();
    let why = fault;
    for (const id of ids) {
      const lease = this.#addresses.lease(owner, id, use);
      if (lease) leases.set(id, lease);
      else why ??= this.#faultOf(view, id);
    }
    return { leases, fault: why };
  }

  #faultOf(view: ClusterView, networkId: string): string {
    const network = view.networks.get(networkId)?.value;
    const { name = networkId, spec } = network ?? {};
    if (this.#addresses.has(networkId)) {
      const family = spec?.ipv4 ? (spec.ipv6 ? 'IPv4 or IPv6' : 'IPv4') : 'IPv6';
      return `no available ${family} addresses on this network's address pools: ${name} (${networkId})`;
    }
    return this.#faults.get(networkId) ?? `network ${name} has no subnet yet`;
  }

  /** Overlays that a task needs an address of, the ingress network among them. */
  #networksOf(
    { networks }: ClusterView,
    { networks: asked, container }: ClusterTask['template'],
    meshed: boolean,
  ): Joined {
    const ids = new Set<string>();
    let fault: string | undefined;
    for (const { network: id } of container.mode.kind === 'networks' ? asked : []) {
      const network = networks.get(id);
      if (!network) fault ??= `network ${id} not found`;
      else if (network.value.spec.driver === OVERLAY) ids.add(id);
    }
    if (meshed) {
      if (this.#ingress !== undefined) ids.add(this.#ingress);
      else fault ??= 'service needs ingress network, but no ingress network is present';
    }
    return { ids: [...ids], fault };
  }
}
