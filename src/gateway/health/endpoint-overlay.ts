import { type EndpointAddress, formatEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';

/** What operators changed of a list of endpoints, as values; endpoints go by their names. */
export type OverlaySnapshot = {
  readonly added: readonly EndpointSpec[];
  readonly removed: readonly string[];
  readonly moved: readonly (readonly [string, EndpointAddress])[];
};

/** The name by which operators know an endpoint. */
export function operatorName({ name, id }: Pick<EndpointSpec, 'name' | 'id'>): string {
  return name ?? id;
}

/** Endpoints that operators have added, removed and moved, over the list that a source tells. */
export class EndpointOverlay {
  readonly #added = new Map<string, EndpointSpec>();
  readonly #removed = new Set<string>();
  readonly #moved = new Map<string, EndpointAddress>();

  get snapshot(): OverlaySnapshot {
    return {
      added: [...this.#added.values()],
      removed: [...this.#removed],
      moved: [...this.#moved],
    };
  }

  restore({ added, removed, moved }: OverlaySnapshot): void {
    for (const spec of added) this.add(spec);
    for (const name of removed) this.remove(name);
    for (const [name, address] of moved) this.move(name, address);
  }

  add(spec: EndpointSpec): void {
    this.#removed.delete(operatorName(spec));
    this.#added.set(operatorName(spec), spec);
  }

  remove(name: string): void {
    this.#moved.delete(name);
    if (!this.#added.delete(name)) this.#removed.add(name);
  }

  move(name: string, address: EndpointAddress): void {
    this.#moved.set(name, address);
  }

  /** The list as operators want it; of two at one address the first stands. */
  apply(told: readonly EndpointSpec[]): EndpointSpec[] {
    const names = new Set(told.map(operatorName));
    const more = [...this.#added.values()].filter((spec) => !names.has(operatorName(spec)));
    const specs = [...told, ...more].flatMap((spec) => {
      const name = operatorName(spec);
      if (this.#removed.has(name)) return [];
      const address = this.#moved.get(name);
      return address ? [{ ...spec, name, address, id: formatEndpointAddress(address) }] : [spec];
    });
    const ids = new Set<string>();
    return specs.filter(({ id }) => !ids.has(id) && ids.add(id));
  }
}
