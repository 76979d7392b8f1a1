/** What a server says of one of its services. Source: gRPC, `health.proto`. */
export type ServingStatus = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

/** Path of the call that asks. */
export const HEALTH_CHECK_PATH = '/grpc.health.v1.Health/Check';

const STATUSES: readonly ServingStatus[] = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const MAX_MESSAGE_BYTES = 1024;
const FRAME_HEAD = 5;

/** A message with its length before it. Source: gRPC over HTTP2, Length-Prefixed-Message. */
function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The request for one service, or with '' for the server as a whole; at most 127 bytes of name. */
export function encodeHealthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  return frame(name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, name.length]), name]));
}

/** The bytes of an answer so far: more wanted, its status, or undefined for what is none. */
export function decodeHealthResponse(bytes: Buffer): 'need-more' | ServingStatus | undefined {
  if (bytes.length < FRAME_HEAD)
    return bytes.length > 0 && bytes[0] !== 0 ? undefined : 'need-more';
  const length = bytes.readUInt32BE(1);
  // No compression was offered.
  if (bytes[0] !== 0 || length > MAX_MESSAGE_BYTES) return undefined;
  if (bytes.length < FRAME_HEAD + length) return 'need-more';
  const message = bytes.subarray(FRAME_HEAD, FRAME_HEAD + length);
  let status = 0;
  let at = 0;
  while (at < message.length) {
    const tag = readVarint(message, at);
    if (!tag) return undefined;
    const field = readField(message, tag.end, tag.value & 7);
    if (!field) return undefined;
    if (tag.value === 8) status = field.value;
    at = field.end;
  }
  return STATUSES[status] ?? 'UNKNOWN';
}

type Read = { readonly value: number; readonly end: number };

/** Reads a field of a wire type, for its end; its value only when it is a varint. */
function readField(message: Buffer, at: number, wireType: number): Read | undefined {
  let field: Read | undefined;
  if (wireType === 0) field = readVarint(message, at);
  else if (wireType === 1) field = { value: 0, end: at + 8 };
  else if (wireType === 5) field = { value: 0, end: at + 4 };
  else if (wireType === 2) {
    const length = readVarint(message, at);
    field = length && { value: 0, end: length.end + length.value };
  }
  return field && field.end <= message.length ? field : undefined;
}

/** Source: Protocol Buffers, encoding; values above 2^53 are not exact. */
function readVarint(message: Buffer, from: number): Read | undefined {
  let value = 0;
  for (let at = from; at < from + 10; at++) {
    const byte = message[at];
    if (byte === undefined) return undefined;
    value += (byte & 127) * 2 ** (7 * (at - from));
    if (byte < 128) return { value, end: at + 1 };
  }
  return undefined;
}
