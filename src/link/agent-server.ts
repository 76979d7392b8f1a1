import { chmodSync, chownSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../base/logger.ts';
import type { AgentEvents, AgentPort, TaskStreams } from './agent-port.ts';
import {
  type AgentMessage,
  CALLS,
  type CallMessage,
  encodeLogEntry,
  type Hello,
  toWireError,
} from './agent-protocol.ts';
import { encodeFrame, encodeMessage, FRAME, type Frame, FrameDecoder } from './frames.ts';

/** Connections at the same time; each attached terminal and followed log is one. */
const MAX_CONNECTIONS = 4096;
const [ROOT_ONLY, OWNERS] = [0o600, 0o660];

export type AgentServerOptions = {
  readonly path: string;
  /** The user and the group who may connect besides root. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  readonly logger: Logger;
};

type OnFrame = (frame: Frame) => void;

/** Serves an agent on a unix socket; hand its `events` to the agent that it serves. */
export class AgentServer {
  readonly #server: Server;
  readonly #logger: Logger;
  readonly #connections = new Set<Socket>();
  readonly #listeners = new Set<Socket>();
  #agent: AgentPort | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Sends what the agent tells to everybody who is connected for calls. */
  readonly events: AgentEvents = {
    taskExited: (...args) => this.#tell({ event: 'taskExited', args }),
    execExited: (...args) => this.#tell({ event: 'execExited', args }),
    degraded: (...args) => this.#tell({ event: 'degraded', args }),
    connected: (...args) => this.#tell({ event: 'connected', args }),
  };

  /** A socket file that an agent left is replaced; ask `answers` first. */
  listen(agent: AgentPort, options: AgentServerOptions): Promise<void> {
    this.#agent = agent;
    rmSync(options.path, { force: true });
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(options.path, () => {
        if (options.owner) chownSync(options.path, options.owner.uid, options.owner.gid);
        chmodSync(options.path, options.owner ? OWNERS : ROOT_ONLY);
        resolve();
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #tell(message: AgentMessage): void {
    const frame = encodeMessage(message);
    for (const socket of this.#listeners) socket.write(frame);
  }

  #accept(socket: Socket): void {
    const decoder = new FrameDecoder();
    let onFrame: OnFrame = (frame) => {
      onFrame = this.#open(socket, frame);
    };
    this.#connections.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#connections.delete(socket);
      this.#listeners.delete(socket);
    });
    socket.on('data', (data: Buffer) => {
      const frames = decoder.push(data);
      if (frames === 'malformed') {
        socket.destroy();
        return;
      }
      for (const frame of frames) {
        try {
          onFrame(frame);
        } catch (error) {
          this.#logger.warn('a message to the agent made no sense', { error: String(error) });
          socket.destroy();
        }
      }
    });
  }

  #open(socket: Socket, frame: Frame): OnFrame {
    const agent = this.#agent;
    if (!agent || frame.kind !== FRAME.json) throw new Error('no greeting');
    // exempt(as): the peer is our own program of the same version
    const hello = JSON.parse(frame.body.toString()) as Hello;
    switch (hello.open) {
      case 'calls':
        this.#listeners.add(socket);
        socket.on('end', () => socket.end());
        socket.write(encodeMessage({ id: 0, result: null }));
        return (next) => this.#call(agent, socket, next);
      case 'attach':
        return openStream(socket, agent.attachTask(hello.task));
      case 'exec':
        return openStream(socket, agent.startExec(hello.spec));
      case 'files':
        return openStream(socket, agent.openFiles(hello.order));
      case 'save':
        return openStream(socket, agent.saveImages(hello.keys));
      case 'upload':
        return openStream(socket, agent.uploadImage(hello.upload));
      case 'logs': {
        const { sinceNs, untilNs } = hello.query;
        const query = {
          ...hello.query,
          tail: hello.query.tail,
          sinceNs: sinceNs === undefined ? undefined : BigInt(sinceNs),
          untilNs: untilNs === undefined ? undefined : BigInt(untilNs),
        };
        const stop = agent.logs(
          hello.task,
          query,
          (entry) => socket.write(encodeLogEntry(entry)),
          () => socket.end(),
        );
        socket.on('close', stop);
        socket.on('end', () => socket.end());
        return () => {};
      }
      default:
        throw new Error('unknown greeting');
    }
  }

  #call(agent: AgentPort, socket: Socket, frame: Frame): void {
    // exempt(as): the peer is our own program of the same version
    const { id, method, params } = JSON.parse(frame.body.toString()) as CallMessage;
    if (!CALLS.includes(method)) throw new Error(`unknown method ${method}`);
    // exempt(as): every method takes what its caller's signature made it send
    const run = agent[method] as (...args: readonly unknown[]) => Promise<unknown>;
    const answer = (message: AgentMessage) => {
      if (!socket.destroyed) socket.write(encodeMessage(message));
    };
    run.apply(agent, [...params]).then(
      (result) => answer({ id, result: result ?? null }),
      (error: unknown) => answer({ id, error: toWireError(error) }),
    );
  }
}

/** Joins a connection to the streams of a task; frames that come before they are there wait. */
function openStream(socket: Socket, opening: Promise<TaskStreams>): OnFrame {
  let streams: TaskStreams | undefined;
  const early: Frame[] = [];
  const take = (frame: Frame) => {
    if (frame.kind !== FRAME.stdin) return;
    if (frame.body.length === 0) streams?.endInput();
    else if (streams?.write(frame.body) === false) socket.pause();
  };
  opening.then(
    (opened) => {
      streams = opened;
      socket.write(encodeMessage({ id: 0, result: null }));
      opened.onDrain = () => socket.resume();
      opened.onOutput = (stream, data) => {
        if (socket.destroyed || socket.write(encodeFrame(FRAME[stream], data))) return;
        opened.pauseOutput(true);
      };
      socket.on('drain', () => opened.pauseOutput(false));
      opened.onEnd = () => socket.end();
      socket.on('end', () => socket.end());
      socket.on('close', () => opened.close());
      if (socket.destroyed) opened.close();
      for (const frame of early) take(frame);
    },
    (error: unknown) => socket.end(encodeMessage({ id: 0, error: toWireError(error) })),
  );
  return (frame) => {
    if (streams) take(frame);
    else early.push(frame);
  };
}
