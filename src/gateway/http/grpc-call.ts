import type { RawHeaders, RequestHead } from '../../net/http-exchange.ts';
import {
  encodeGrpcMessage,
  grpcStatusName,
  grpcStatusOf,
  isGrpcContentType,
  isServerFault,
  parseGrpcStatus,
  parseGrpcTimeout,
} from '../../wire/grpc.ts';
import { reasonOf } from '../../wire/http1-write.ts';
import { headerValue } from './matcher.ts';

const MAX_TIMER_MS = 2_147_483_647;

/** What is particular of a request that is a gRPC call: its deadline and its kind of status. */
export class GrpcCall {
  readonly #timeoutMs: number | undefined;
  #status: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(timeoutMs: number | undefined) {
    this.#timeoutMs = timeoutMs;
  }

  /** Undefined: the request is none. */
  static of({ version, method, headers }: RequestHead): GrpcCall | undefined {
    if (version !== '2' || method !== 'POST') return undefined;
    if (!isGrpcContentType(headerValue(headers, 'content-type') ?? '')) return undefined;
    return new GrpcCall(parseGrpcTimeout(headerValue(headers, 'grpc-timeout') ?? ''));
  }

  /** Calls `expired` when the client's deadline has passed, unless `over` comes first. */
  start(expired: () => void): void {
    if (this.#timeoutMs === undefined || this.#timeoutMs > MAX_TIMER_MS) return;
    this.#timer = setTimeout(expired, this.#timeoutMs);
  }

  over(): void {
    clearTimeout(this.#timer);
  }

  /** Takes the status of an answer where it stands: in the trailers, or in a head without body. */
  note(fields: RawHeaders): void {
    this.#status = parseGrpcStatus(headerValue(fields, 'grpc-status')) ?? this.#status;
  }

  /** The status that the client has got, by name. */
  get statusName(): string {
    return grpcStatusName(this.#status);
  }

  /** Whether the endpoint's answer counts against it. */
  get failed(): boolean {
    return isServerFault(this.#status);
  }

  /** The head of an answer that has nothing but a status. */
  trailersOnly(status: number, reason: string): RawHeaders {
    return ['content-type', 'application/grpc', ...this.fields(status, reason)];
  }

  /** The fields by which the gateway tells of a failure, instead of an HTTP status. */
  fields(status: number, reason: string): RawHeaders {
    this.#status = grpcStatusOf(status);
    const message = encodeGrpcMessage(`${reasonOf(status)} (gateway: ${reason})`);
    return ['grpc-status', String(this.#status), 'grpc-message', message];
  }
}
