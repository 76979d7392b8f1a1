import type { AgentState } from '../model/endpoint-state.ts';

/** What one reply of an endpoint's agent says; what it does not name stays as it was. */
export type AgentWords = {
  readonly health?: 'up' | 'down';
  readonly order?: 'ready' | 'drain' | 'maint';
  readonly weight?: { readonly kind: 'absolute' | 'relative'; readonly value: number };
  readonly maxConnections?: number;
  readonly description: string;
};

const MAX_WEIGHT = 256;

/** What the agent of one endpoint has asked for so far: each reply changes what it names. */
export class AgentOrders {
  #health: 'up' | 'down' = 'up';
  #order: 'ready' | 'drain' | 'maint' = 'ready';
  #weight: AgentWords['weight'];
  #maxConnections = 0;
  #description = '';

  /** The strictest of what it has said. */
  get state(): AgentState {
    if (this.#order === 'maint') return 'maint';
    return this.#health === 'down' ? 'down' : this.#order;
  }

  /** Why, in words; empty when it takes traffic. */
  get reason(): string {
    if (this.state === 'ready') return '';
    return `agent: ${this.state}${this.#description ? ` (${this.#description})` : ''}`;
  }

  /** Whether anything is other than before. */
  take(words: AgentWords): boolean {
    const before = this.#key();
    this.#health = words.health ?? this.#health;
    this.#order = words.order ?? this.#order;
    this.#weight = words.weight ?? this.#weight;
    this.#maxConnections = words.maxConnections ?? this.#maxConnections;
    if (words.health || words.order) this.#description = words.description;
    return before !== this.#key();
  }

  /** The weight it asks for, at most 256, where `configured` is what shares are of. */
  weight(configured: number): number {
    if (!this.#weight) return configured;
    const { kind, value } = this.#weight;
    const wanted = kind === 'relative' ? configured * value : value;
    return Math.min(MAX_WEIGHT, Math.round(wanted * 100) / 100);
  }

  maxConnections(configured: number | undefined): number | undefined {
    return this.#maxConnections > 0 ? this.#maxConnections : configured;
  }

  #key(): string {
    return JSON.stringify([this.reason, this.#weight, this.#maxConnections]);
  }
}
