import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable, Writable } from 'node:stream';
import { failed } from '../../base/faults.ts';
import { uploadAnswer } from '../../control/images.ts';
import type { TaskStreams } from '../../control/streams.ts';
import type { Answer, Call } from './http.ts';

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

/** Gives a task what a client sends. */
function feed(streams: TaskStreams, input: Readable): void {
  input.on('data', (data: Buffer) => {
    if (!streams.write(data)) input.pause();
  });
  streams.onDrain = () => input.resume();
  input.on('end', () => streams.endInput());
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
  if (wanted.stdin) feed(streams, input);
  else input.resume();
  output.on('close', () => streams.close());
  input.on('error', () => streams.close());
  output.on('error', () => streams.close());
}

/**
 * Answers with what comes out. Rejects with the reason when nothing does; later a client sees that
 * it is not whole by the connection's end.
 */
export function sendStream(
  streams: TaskStreams,
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  response.on('drain', () => streams.pauseOutput(false));
  response.on('close', () => streams.close());
  return new Promise((resolve, reject) => {
    let refusal: string | undefined;
    const begin = () => {
      if (response.headersSent) return;
      response.writeHead(200, headers);
      resolve(undefined);
    };
    streams.onOutput = (stream, data) => {
      if (stream === 'stderr') refusal = data.toString();
      else {
        begin();
        if (!response.write(data)) streams.pauseOutput(true);
      }
    };
    streams.onEnd = () => {
      if (refusal === undefined) {
        begin();
        response.end();
      } else if (response.headersSent) response.destroy();
      else reject(failed(refusal));
    };
  });
}

/** Sends the body of a call; resolves with what was answered. */
export function takeBody(streams: TaskStreams, request: IncomingMessage): Promise<string> {
  const answer = uploadAnswer(streams);
  feed(streams, request);
  request.on('close', () => {
    if (!request.complete) streams.close();
  });
  return answer;
}
