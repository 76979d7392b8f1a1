import { connect, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { SluiceError } from '../base/errors.ts';
import type { ClusterIntent } from '../model/cluster-intent.ts';
import type { HostDelta, HostIntent } from '../model/host-intent.ts';
import type { CarryFailure, KernelListener, ListenerTraffic } from '../model/kernel-listener.ts';
import type {
  CommitOrder,
  ExecSpec,
  FileOrder,
  FileStat,
  ImageInfo,
  ImageUpload,
  TaskLimits,
  TaskSpec,
  TaskState,
} from '../model/task-spec.ts';
import type {
  AgentEvents,
  AgentPort,
  ApplyReport,
  Capability,
  LogEntry,
  LogQuery,
  TaskStats,
  TaskStreams,
} from './agent-port.ts';
import {
  type AgentMessage,
  type CallName,
  decodeLogEntry,
  fromWireError,
  type Hello,
} from './agent-protocol.ts';
import { encodeFrame, encodeMessage, FRAME, type Frame, FrameDecoder } from './frames.ts';

const RECONNECT_MS = 200;
/** Answers that are awaited at the same time. */
const MAX_PENDING = 4096;

type Pending = { resolve: (result: unknown) => void; reject: (error: SluiceError) => void };

/** Reads frames of a connection until it ends; `malformed` input ends it. */
function readFrames(socket: Socket, onFrame: (frame: Frame) => void): void {
  const decoder = new FrameDecoder();
  socket.on('data', (data: Buffer) => {
    const frames = decoder.push(data);
    if (frames === 'malformed') socket.destroy();
    else for (const frame of frames) onFrame(frame);
  });
}

function unreachable(path: string, why: string): SluiceError {
  return new SluiceError('E_AGENT_UNREACHABLE', `the agent at ${path} does not answer: ${why}`);
}

/** The streams of a task over a connection of their own. */
class RemoteStreams implements TaskStreams {
  readonly #socket: Socket;
  /** What came before anybody listened. */
  #early: Frame[] = [];
  #onOutput: TaskStreams['onOutput'] | undefined;
  #onEnd: (() => void) | undefined;
  #ended = false;
  onDrain: () => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('drain', () => this.onDrain());
    socket.on('close', () => {
      this.#ended = true;
      this.#onEnd?.();
    });
  }

  set onOutput(listener: TaskStreams['onOutput']) {
    this.#onOutput = listener;
    for (const frame of this.#early.splice(0)) this.take(frame);
  }

  set onEnd(listener: () => void) {
    this.#onEnd = listener;
    if (this.#ended) listener();
  }

  take(frame: Frame): void {
    if (!this.#onOutput) this.#early.push(frame);
    else if (frame.kind === FRAME.stdout) this.#onOutput('stdout', frame.body);
    else if (frame.kind === FRAME.stderr) this.#onOutput('stderr', frame.body);
  }

  write(data: Buffer): boolean {
    if (data.length === 0) return true;
    return this.#socket.write(encodeFrame(FRAME.stdin, data));
  }

  endInput(): void {
    this.#socket.write(encodeFrame(FRAME.stdin, Buffer.alloc(0)));
  }

  close(): void {
    this.#socket.destroy();
  }

  pauseOutput(paused: boolean): void {
    if (paused) this.#socket.pause();
    else this.#socket.resume();
  }
}

/** An agent behind a unix socket; the connection is made again whenever it is lost. */
export class AgentClient implements AgentPort {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #events: AgentEvents;
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | undefined;
  #up = false;
  #nextId = 1;
  #closed = false;

  constructor(path: string, events: AgentEvents, clock: Clock) {
    this.#path = path;
    this.#events = events;
    this.#clock = clock;
    this.#connect();
  }

  /** Whether calls reach the agent now. */
  get connected(): boolean {
    return this.#up;
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  #connect(): void {
    if (this.#closed) return;
    const socket = connect(this.#path);
    this.#socket = socket;
    socket.write(encodeMessage({ open: 'calls' } satisfies Hello));
    let why = 'connection closed';
    socket.on('error', (error) => {
      why = error.message;
    });
    readFrames(socket, (frame) => this.#answer(frame));
    socket.on('close', () => this.#lost(why));
  }

  #lost(why: string): void {
    for (const { reject } of this.#pending.values()) reject(unreachable(this.#path, why));
    this.#pending.clear();
    if (this.#up) this.#events.connected(false);
    this.#up = false;
    this.#clock.after(RECONNECT_MS, () => this.#connect());
  }

  #answer(frame: Frame): void {
    if (frame.kind !== FRAME.json) return;
    // exempt(as): the peer is our own program of the same version
    const message = JSON.parse(frame.body.toString()) as AgentMessage;
    if ('event' in message) {
      // exempt(as): every event carries what its signature says
      (this.#events[message.event] as (...args: readonly unknown[]) => void)(...message.args);
      return;
    }
    if (message.id === 0) {
      this.#up = true;
      this.#events.connected(true);
      return;
    }
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if ('error' in message) pending?.reject(fromWireError(message.error));
    else pending?.resolve(message.result);
  }

  #call<T>(method: CallName, ...params: readonly unknown[]): Promise<T> {
    const socket = this.#socket;
    if (!socket || !this.#up) return Promise.reject(unreachable(this.#path, 'not connected'));
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(unreachable(this.#path, `${MAX_PENDING} answers are outstanding`));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      // exempt(as): the agent answers what the method's signature says
      this.#pending.set(id, { resolve: resolve as (result: unknown) => void, reject });
      socket.write(encodeMessage({ id, method, params }));
    });
  }

  #stream(hello: Hello): Promise<TaskStreams> {
    const socket = connect({ path: this.#path, allowHalfOpen: false });
    socket.write(encodeMessage(hello));
    return new Promise((resolve, reject) => {
      let streams: RemoteStreams | undefined;
      socket.on('error', (error) => reject(unreachable(this.#path, error.message)));
      socket.on('close', () => reject(unreachable(this.#path, 'connection closed')));
      readFrames(socket, (frame) => {
        if (streams) {
          streams.take(frame);
          return;
        }
        // exempt(as): the peer is our own program of the same version
        const message = JSON.parse(frame.body.toString()) as AgentMessage;
        if ('error' in message) {
          reject(fromWireError(message.error));
          socket.destroy();
          return;
        }
        streams = new RemoteStreams(socket);
        resolve(streams);
      });
    });
  }

  sync(intent: HostIntent): Promise<ApplyReport> {
    return this.#call('sync', intent);
  }

  apply(delta: HostDelta): Promise<ApplyReport> {
    return this.#call('apply', delta);
  }

  doctor(): Promise<readonly Capability[]> {
    return this.#call('doctor');
  }

  join(cluster: ClusterIntent): Promise<ApplyReport> {
    return this.#call('join', cluster);
  }

  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]> {
    return this.#call('carry', listeners);
  }

  traffic(): Promise<readonly ListenerTraffic[]> {
    return this.#call('traffic');
  }

  images(): Promise<readonly ImageInfo[]> {
    return this.#call('images');
  }

  tagImage(id: string, name: string): Promise<void> {
    return this.#call('tagImage', id, name);
  }

  removeImage(key: string): Promise<void> {
    return this.#call('removeImage', key);
  }

  uploadImage(upload: ImageUpload): Promise<TaskStreams> {
    return this.#stream({ open: 'upload', upload });
  }

  saveImages(keys: readonly string[]): Promise<TaskStreams> {
    return this.#stream({ open: 'save', keys });
  }

  commitTask(order: CommitOrder): Promise<string> {
    return this.#call('commitTask', order);
  }

  createVolume(name: string): Promise<string> {
    return this.#call('createVolume', name);
  }

  removeVolume(name: string): Promise<void> {
    return this.#call('removeVolume', name);
  }

  volumeBytes(name: string): Promise<number> {
    return this.#call('volumeBytes', name);
  }

  createTask(spec: TaskSpec): Promise<void> {
    return this.#call('createTask', spec);
  }

  startTask(id: string): Promise<TaskState> {
    return this.#call('startTask', id);
  }

  updateFiles(id: string, files: { hosts: string; resolvConf: string }): Promise<void> {
    return this.#call('updateFiles', id, files);
  }

  statFile(id: string, path: string): Promise<FileStat> {
    return this.#call('statFile', id, path);
  }

  openFiles(order: FileOrder): Promise<TaskStreams> {
    return this.#stream({ open: 'files', order });
  }

  signalTask(id: string, signal: string): Promise<void> {
    return this.#call('signalTask', id, signal);
  }

  limitTask(id: string, limits: TaskLimits): Promise<void> {
    return this.#call('limitTask', id, limits);
  }

  pauseTask(id: string, paused: boolean): Promise<void> {
    return this.#call('pauseTask', id, paused);
  }

  removeTask(id: string): Promise<void> {
    return this.#call('removeTask', id);
  }

  tasks(): Promise<readonly TaskState[]> {
    return this.#call('tasks');
  }

  attachTask(id: string): Promise<TaskStreams> {
    return this.#stream({ open: 'attach', task: id });
  }

  startExec(spec: ExecSpec): Promise<TaskStreams> {
    return this.#stream({ open: 'exec', spec });
  }

  resize(id: string, columns: number, rows: number): Promise<void> {
    return this.#call('resize', id, columns, rows);
  }

  logs(
    id: string,
    query: LogQuery,
    line: (entry: LogEntry) => void,
    ended: () => void,
  ): () => void {
    const { sinceNs, untilNs } = query;
    const hello: Hello = {
      open: 'logs',
      task: id,
      query: { ...query, sinceNs: sinceNs?.toString(), untilNs: untilNs?.toString() },
    };
    const socket = connect(this.#path);
    socket.write(encodeMessage(hello));
    let stopped = false;
    readFrames(socket, (frame) => {
      const entry = decodeLogEntry(frame);
      if (entry && !stopped) line(entry);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (!stopped) ended();
    });
    return () => {
      stopped = true;
      socket.destroy();
    };
  }

  stats(id: string): Promise<TaskStats> {
    return this.#call('stats', id);
  }

  top(id: string, psArgs: readonly string[]): Promise<readonly (readonly string[])[]> {
    return this.#call('top', id, psArgs);
  }
}
