import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { errorText, SluiceError } from '../base/errors.ts';
import type { HttpMesh } from '../control/cluster/compile/http-mesh.ts';
import {
  type HandoverMessage,
  type Inheritance,
  InheritanceBuilder,
} from '../gateway/supervisor/handover.ts';
import type { NativeHandle } from '../net/handles.ts';
import type { Bequest } from './daemon/engine-core.ts';

/** Set for a daemon that a running one has started to take over from it. */
const MARK = 'SLUICE_SUCCESSOR';
/** What the service manager meant for the first process only. */
const PERSONAL = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'WATCHDOG_PID'];
const READY_WITHIN_MS = 30_000;

/** A client of the Engine API that has been accepted and not read; comes with its socket. */
type ClientMessage = { type: 'client'; key: string };

/** What a daemon says to its successor; `front` carries a listening socket of the Engine API. */
type PredecessorMessage =
  | HandoverMessage
  | { type: 'front'; key: string }
  | { type: 'cluster'; mesh: HttpMesh }
  | { type: 'complete' }
  | { type: 'released'; bequest: Bequest }
  | ClientMessage;

/** A successor's part; `claim` asks for what only one process may have. */
type SuccessorMessage = { type: 'claim' } | { type: 'ready' } | { type: 'failed'; why: string };

export type Send = (message: PredecessorMessage, handle?: NativeHandle) => void;
export type PassOn = (message: ClientMessage, socket: Socket) => Promise<void>;

/** What passes from a daemon to its successor. */
export type Estate = {
  /** Hands sockets over; everything goes on as before. */
  handOver(send: Send): void;
  /** Lets go of what only one process may have. Throws when it cannot now. */
  release(): Promise<Bequest>;
  /** The successor is gone: takes back what was released for it, if anything. */
  resume(): Promise<void>;
  /** The successor serves; nothing new is taken here. */
  leave(passOn: PassOn): Promise<void>;
};

/** What a successor begins with. */
export type Legacy = {
  readonly gateway: Inheritance;
  /** Listening sockets of the Engine API, by their keys. */
  readonly fronts: ReadonlyMap<string, NativeHandle>;
  /** What its gateway had of a cluster. */
  readonly mesh: HttpMesh | undefined;
};

function startAgain(): ChildProcess {
  const env: NodeJS.ProcessEnv = { ...process.env, [MARK]: '1' };
  for (const name of PERSONAL) delete env[name];
  const [, script = '', ...args] = process.argv;
  return spawn(process.argv0, [...process.execArgv, script, ...args], {
    env,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
    detached: true,
  });
}

/** Resolves when the successor serves, or rejects with why it does not. */
function whenReady(child: ChildProcess, release: () => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => {
      clearTimeout(timer);
      reject(new Error(why));
    };
    const late = `it was not ready within ${READY_WITHIN_MS / 1000} s`;
    const timer = setTimeout(() => refuse(late), READY_WITHIN_MS);
    child.once('error', (error) => refuse(error.message));
    child.once('exit', (code, signal) => refuse(`it ended with ${signal ?? `code ${code}`}`));
    child.on('message', (message) => {
      // exempt(as): the peer is our own program
      const answer = message as SuccessorMessage;
      if (answer.type === 'failed') refuse(answer.why);
      if (answer.type === 'claim') release().catch((error) => refuse(errorText(error)));
      if (answer.type !== 'ready') return;
      clearTimeout(timer);
      resolve();
    });
  });
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/**
 * Starts this program again, from the files as they are now, and hands everything over to it.
 * Resolves with its process number when it serves; rejects with `E_UPGRADE_REFUSED` and the reason
 * when it does not come up, in which case it is gone. `onStart` gets what stops it.
 */
export async function startSuccessor(
  estate: Estate,
  onStart: (stop: () => void) => void,
): Promise<number> {
  if (process.pid === 1) {
    const why = 'this is process 1 and cannot leave; replace the container instead';
    throw new SluiceError('E_UPGRADE_REFUSED', why);
  }
  const child = startAgain();
  onStart(() => child.kill('SIGKILL'));
  // Its channel breaks when it ends, of which its exit tells.
  child.on('error', () => {});
  // One that ends at this moment is noticed by its exit.
  const send: Send = (message, handle) =>
    child.send(message, handle as never, { keepOpen: true }, () => {});
  let released = Promise.resolve();
  const release = () => {
    released = estate.release().then((bequest) => send({ type: 'released', bequest }));
    return released;
  };
  try {
    const ready = whenReady(child, release);
    estate.handOver(send);
    send({ type: 'complete' });
    await ready;
  } catch (error) {
    await kill(child);
    await released.catch(() => {});
    await estate.resume();
    const why = `the new daemon did not take over: ${errorText(error)}`;
    throw new SluiceError('E_UPGRADE_REFUSED', why);
  }
  await estate.leave(
    (message, socket) => new Promise((resolve) => child.send(message, socket, {}, () => resolve())),
  );
  child.removeAllListeners('exit');
  if (child.connected) child.disconnect();
  child.unref();
  return child.pid ?? 0;
}

/** Whether a running daemon has started this one to take over from it. */
export function isSuccessor(env: NodeJS.ProcessEnv): boolean {
  return env[MARK] !== undefined && process.send !== undefined;
}

/** Calls `take` with every message on this process's channel until it says so, or the channel ends. */
function receive(
  take: (message: PredecessorMessage, handle: NativeHandle | undefined) => boolean,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      process.off('message', onMessage);
      process.off('disconnect', done);
      resolve();
    };
    const onMessage = (message: unknown, handle: unknown) => {
      // exempt(as): the peer is our own program
      if (take(message as PredecessorMessage, handle as NativeHandle | undefined)) done();
    };
    process.on('message', onMessage);
    process.on('disconnect', done);
  });
}

/** Takes what a worker without a supervisor hands over, until it is complete or cut. */
export function receiveInto(builder: InheritanceBuilder): Promise<void> {
  // exempt(as): workers send nothing else
  return receive((message, handle) => builder.add(message as HandoverMessage, handle));
}

/** Takes what the predecessor hands over. */
export async function inherit(): Promise<Legacy> {
  const builder = new InheritanceBuilder();
  const fronts = new Map<string, NativeHandle>();
  let mesh: HttpMesh | undefined;
  await receive((message, handle) => {
    switch (message.type) {
      case 'complete':
        return true;
      case 'front':
        if (handle) fronts.set(message.key, handle);
        return false;
      case 'cluster':
        mesh = message.mesh;
        return false;
      case 'released':
      case 'client':
        return false;
      default:
        builder.add(message, handle);
        return false;
    }
  });
  return { gateway: builder.result, fronts, mesh };
}

/** Asks the predecessor for what only one process may have; resolves when that has let go. */
export async function claim(): Promise<Bequest> {
  let bequest: Bequest | undefined;
  const answer = receive((message) => {
    if (message.type === 'released') bequest = message.bequest;
    return message.type === 'released';
  });
  await tellPredecessor({ type: 'claim' });
  await answer;
  if (bequest) return bequest;
  throw new SluiceError('E_UPGRADE_REFUSED', 'the daemon before has ended on the way');
}

/** From now on `take` gets the clients that the predecessor has accepted and not served. */
export function takeClients(take: (key: string, socket: Socket) => void): void {
  // The channel breaks when the predecessor is killed now; it has nothing more to give then.
  process.on('error', () => {});
  void receive((message, handle) => {
    // exempt(as): a client comes with its socket
    if (message.type === 'client' && handle) take(message.key, handle as unknown as Socket);
    return false;
  });
}

/** Tells the predecessor, if it waits for that, how the start goes. */
export function tellPredecessor(message: SuccessorMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || !process.send) resolve();
    else process.send(message, undefined, {}, () => resolve());
  });
}
