import { isUsable } from '../../health/eligible.ts';
import type { RetryOn } from '../../model/service.ts';
import { IDEMPOTENT } from '../../wire/http-methods.ts';
import { NO_TRIES, type ServiceHandle } from '../upstream/service-handle.ts';
import type { RequestBody } from './request-body.ts';

/** Where a request has been sent without success, and whether it may be sent once more. */
export class Attempts {
  /** Endpoints that have failed it. */
  tried: ReadonlySet<string> = NO_TRIES;
  /** Times that it was sent again because an endpoint had failed it. */
  retries = 0;
  readonly #service: ServiceHandle;
  readonly #method: string;
  readonly #body: RequestBody;

  constructor(service: ServiceHandle, method: string, body: RequestBody) {
    this.#service = service;
    this.#method = method;
    this.#body = body;
  }

  failedOn(endpoint: string): void {
    this.tried = new Set([...this.tried, endpoint]);
    this.retries++;
  }

  /** Whether sending it again could not do anything twice that must be done once. */
  mayRepeat(sent: boolean): boolean {
    if (!this.#body.replayable) return false;
    return !sent || IDEMPOTENT.has(this.#method);
  }

  /** Whether the service's rules allow a retry; counts it against the budget when they do. */
  mayRetry(cause: RetryOn, sent: boolean): boolean {
    const { retries } = this.#service.config;
    if (!retries || !this.mayRepeat(sent) || !retries.on.includes(cause)) return false;
    if (sent && !retries.methods.includes(this.#method)) return false;
    // A refused connection costs nothing: every endpoint may be tried once.
    const limit = sent ? retries.attempts : this.#service.endpoints.length;
    if (this.retries >= limit) return false;
    return !sent || this.#service.tryRetry();
  }

  /** Whether an endpoint that has not been tried could take it instead of this one. */
  hasOther(endpoint: string): boolean {
    return this.#service.endpoints.some(
      ({ id, state }) => id !== endpoint && !this.tried.has(id) && isUsable(state),
    );
  }
}
