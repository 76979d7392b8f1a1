/** Status codes of gRPC that are used here. Source: gRPC, `statuscodes.md`. */
export const GRPC_STATUS = {
  ok: 0,
  unknown: 2,
  deadlineExceeded: 4,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

const NAMES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const;

/** A status by its name; `other` for what is none, or when a call ended without one. */
export function grpcStatusName(status: number | undefined): string {
  return (status === undefined ? undefined : NAMES[status]) ?? 'other';
}

/** Whether a content type is gRPC's; gRPC-Web is another protocol. */
export function isGrpcContentType(value: string): boolean {
  return /^application\/grpc(?:[+;]|$)/i.test(value);
}

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000001,
};

/** The value of `grpc-timeout` in ms; undefined when it is none. Source: gRPC over HTTP2. */
export function parseGrpcTimeout(value: string): number | undefined {
  const parts = /^(\d{1,8})([HMSmun])$/.exec(value);
  return parts ? Number(parts[1]) * (UNIT_MS[parts[2] ?? ''] ?? 0) : undefined;
}

/**
 * The gRPC status for an HTTP status that the gateway would answer. As gRPC's own mapping has it,
 * but for what the gateway knows better: its timeouts and its limits.
 */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return GRPC_STATUS.internal;
    case 401:
      return GRPC_STATUS.unauthenticated;
    case 403:
      return GRPC_STATUS.permissionDenied;
    case 404:
      return GRPC_STATUS.unimplemented;
    case 408:
    case 504:
      return GRPC_STATUS.deadlineExceeded;
    case 413:
    case 429:
      return GRPC_STATUS.resourceExhausted;
    case 502:
    case 503:
      return GRPC_STATUS.unavailable;
    default:
      return GRPC_STATUS.unknown;
  }
}

/** A text as `grpc-message` has it: UTF-8, percent-encoded outside printable ASCII. */
export function encodeGrpcMessage(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

/** The code in a `grpc-status` field, or undefined. */
export function parseGrpcStatus(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,2}$/.test(value) ? Number(value) : undefined;
}

/** Whether a status says that the server, not the caller, is at fault, as a 5xx would. */
export function isServerFault(status: number | undefined): boolean {
  return (
    status === GRPC_STATUS.unknown ||
    status === GRPC_STATUS.internal ||
    status === GRPC_STATUS.unavailable ||
    status === GRPC_STATUS.dataLoss
  );
}
