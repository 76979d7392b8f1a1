import type { Readable, Writable } from 'node:stream';
import type { TaskStreams } from '../../control/streams.ts';
import type { Call } from './http.ts';

const FRAME_HEAD = 8;
const STREAM_NUMBER = { stdout: 1, stderr: 2 } as const;

/** A piece of output with the head that tells its stream and length. */
export function frame(stream: 'stdout' | 'stderr', data: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD);
  head[0] = STREAM_NUMBER[stream];
  head.writeUInt32BE(data.length, 4);
  return Buffer.concat([head, data]);
}

/** Which streams a client wants, and how. */
export type Wanted = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** One raw stream instead of frames. */
  readonly tty: boolean;
};

/** Output that a client has not read yet; beyond it the client is let go. */
const MAX_UNREAD = 16 * 1024 * 1024;
const MULTIPLEXED = 'application/vnd.docker.multiplexed-stream';
const RAW = 'application/vnd.docker.raw-stream';
/** Since this API version framed streams say so. */
const SAYS_MULTIPLEXED = 42;

function contentType(tty: boolean, version: number): string {
  return tty || version < SAYS_MULTIPLEXED ? RAW : MULTIPLEXED;
}

/**
 * Answers that the stream begins: 101 on a connection that leaves HTTP, else 200. Returns where
 * to read from and to write to.
 */
export function beginStream(call: Call, tty: boolean): { input: Readable; output: Writable } {
  const type = contentType(tty, call.version);
  call.lasts();
  if (!call.upgraded) {
    call.response.writeHead(200, { 'content-type': type });
    call.response.flushHeaders();
    return { input: call.request, output: call.response };
  }
  const { socket, head } = call.upgraded;
  socket.write(
    `HTTP/1.1 101 UPGRADED\r\nContent-Type: ${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  return { input: socket, output: socket };
}

/** Carries bytes between a client and a task until either is done. */
export function pump(
  streams: TaskStreams,
  { input, output }: { input: Readable; output: Writable },
  wanted: Wanted,
): void {
  streams.onOutput = (stream, data) => {
    if (!wanted[stream] && !wanted.tty) return;
    if (!output.writable) return;
    if (!output.write(wanted.tty ? data : frame(stream, data))) streams.pauseOutput(true);
    if (output.writableLength > MAX_UNREAD) output.destroy();
  };
  output.on('drain', () => streams.pauseOutput(false));
  streams.onEnd = () => {
    if (output.writable) output.end();
    // What the client still sends has no reader any more.
    input.resume();
  };
  if (wanted.stdin) {
    input.on('data', (data: Buffer) => {
      if (!streams.write(data)) input.pause();
    });
    streams.onDrain = () => input.resume();
    input.on('end', () => streams.endInput());
  } else input.resume();
  output.on('close', () => streams.close());
  input.on('error', () => streams.close());
  output.on('error', () => streams.close());
}
