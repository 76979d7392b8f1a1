import { ERROR_CODES, type ErrorCode } from '../base/error-codes.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import type { ExecSpec, FileOrder, ImageUpload } from '../model/task-spec.ts';
import type { AgentEvents, AgentPort, LogEntry, LogQuery } from './agent-port.ts';
import { encodeFrame, FRAME, type Frame } from './frames.ts';

/** The methods that are one question and one answer. */
export const CALLS = [
  'sync',
  'apply',
  'join',
  'doctor',
  'carry',
  'traffic',
  'images',
  'tagImage',
  'removeImage',
  'commitTask',
  'createVolume',
  'removeVolume',
  'volumeBytes',
  'createTask',
  'startTask',
  'updateFiles',
  'statFile',
  'signalTask',
  'limitTask',
  'pauseTask',
  'removeTask',
  'tasks',
  'resize',
  'stats',
  'top',
] as const satisfies readonly (keyof AgentPort)[];

export type CallName = (typeof CALLS)[number];

/** Opens a connection: many calls, or one stream. */
export type Hello =
  | { readonly open: 'calls' }
  | { readonly open: 'attach'; readonly task: string }
  | { readonly open: 'exec'; readonly spec: ExecSpec }
  | { readonly open: 'files'; readonly order: FileOrder }
  | { readonly open: 'save'; readonly keys: readonly string[] }
  | { readonly open: 'upload'; readonly upload: ImageUpload }
  | { readonly open: 'logs'; readonly task: string; readonly query: WireLogQuery };

export type WireLogQuery = Omit<LogQuery, 'sinceNs' | 'untilNs'> & {
  readonly sinceNs: string | undefined;
  readonly untilNs: string | undefined;
};

export type CallMessage = {
  readonly id: number;
  readonly method: CallName;
  readonly params: readonly unknown[];
};

export type WireError = { readonly code: ErrorCode; readonly message: string };

/** What the agent says on a connection of calls; `id` 0 accepts or refuses the connection. */
export type AgentMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: WireError }
  | { readonly event: keyof AgentEvents; readonly args: readonly unknown[] };

export function toWireError(thrown: unknown): WireError {
  const code = thrown instanceof SluiceError ? thrown.code : 'E_AGENT_COMMAND';
  return { code, message: errorText(thrown) };
}

export function fromWireError(error: WireError): SluiceError {
  return new SluiceError(error.code in ERROR_CODES ? error.code : 'E_AGENT_LINK', error.message);
}

const TIME_BYTES = 8;

/** A line of a log with its time before it. */
export function encodeLogEntry(entry: LogEntry): Buffer {
  const body = Buffer.allocUnsafe(TIME_BYTES + entry.line.length);
  body.writeBigUInt64BE(entry.timeNs, 0);
  entry.line.copy(body, TIME_BYTES);
  return encodeFrame(FRAME[entry.stream], body);
}

/** Undefined for what is no line of a log. */
export function decodeLogEntry(frame: Frame): LogEntry | undefined {
  if (frame.kind !== FRAME.stdout && frame.kind !== FRAME.stderr) return undefined;
  if (frame.body.length < TIME_BYTES) return undefined;
  return {
    stream: frame.kind === FRAME.stdout ? 'stdout' : 'stderr',
    timeNs: frame.body.readBigUInt64BE(0),
    line: frame.body.subarray(TIME_BYTES),
  };
}
