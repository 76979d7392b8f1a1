import { spawn } from 'node:child_process';
import { SluiceError } from '../base/errors.ts';
import {
  type HandoverMessage,
  type Inheritance,
  InheritanceBuilder,
  type SuccessorMessage,
} from '../gateway/supervisor/handover.ts';
import type { NativeHandle } from '../net/handles.ts';

/** Set for a daemon that a running one has started to take over from it. */
const MARK = 'SLUICE_SUCCESSOR';
/** What the service manager meant for the first process only. */
const PERSONAL = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'WATCHDOG_PID'];
const READY_WITHIN_MS = 30_000;

type Send = (message: HandoverMessage, handle?: NativeHandle) => void;

/**
 * Starts this program again, from the files as they are now, and hands everything over to it.
 * Resolves with its process number when it serves; rejects with `E_UPGRADE_REFUSED` and the reason
 * when it does not come up, in which case it is gone.
 */
export function startSuccessor(
  handOver: (send: Send) => void,
  onStart: (stop: () => void) => void,
): Promise<number> {
  if (process.pid === 1) {
    const why = 'this is process 1 and cannot leave; replace the container instead';
    return Promise.reject(new SluiceError('E_UPGRADE_REFUSED', why));
  }
  const env: NodeJS.ProcessEnv = { ...process.env, [MARK]: '1' };
  for (const name of PERSONAL) delete env[name];
  const [, script = '', ...args] = process.argv;
  const child = spawn(process.argv0, [...process.execArgv, script, ...args], {
    env,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
    detached: true,
  });
  onStart(() => child.kill('SIGKILL'));
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new SluiceError('E_UPGRADE_REFUSED', `the new daemon did not take over: ${why}`));
    };
    const timer = setTimeout(
      () => refuse(`it was not ready within ${READY_WITHIN_MS / 1000} s`),
      READY_WITHIN_MS,
    );
    child.once('error', (error) => refuse(error.message));
    child.once('exit', (code, signal) => refuse(`it ended with ${signal ?? `code ${code}`}`));
    child.on('message', (message) => {
      const answer = message as SuccessorMessage;
      if (answer.type === 'failed') refuse(answer.why);
      if (answer.type !== 'ready') return;
      clearTimeout(timer);
      child.removeAllListeners('exit');
      child.disconnect();
      child.unref();
      resolve(child.pid ?? 0);
    });
    // One that ends at this moment is noticed by its exit.
    handOver((message, handle) =>
      child.send(message, handle as never, { keepOpen: true }, () => {}),
    );
  });
}

/** Whether a running daemon has started this one to take over from it. */
export function isSuccessor(env: NodeJS.ProcessEnv): boolean {
  return env[MARK] !== undefined && process.send !== undefined;
}

/** Takes everything that is handed over on this process's channel, until it is complete or cut. */
export function receiveInto(builder: InheritanceBuilder): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      process.off('message', onMessage);
      process.off('disconnect', done);
      resolve();
    };
    const onMessage = (message: unknown, handle: unknown) => {
      if (builder.add(message as HandoverMessage, handle as NativeHandle | undefined)) done();
    };
    process.on('message', onMessage);
    process.on('disconnect', done);
  });
}

/** Takes what the predecessor hands over. */
export async function inherit(): Promise<Inheritance> {
  const builder = new InheritanceBuilder();
  await receiveInto(builder);
  return builder.result;
}

/** Tells the predecessor, if it waits for that, how the start went. */
export function answerPredecessor(message: SuccessorMessage): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || !process.send) resolve();
    else process.send(message, undefined, {}, () => resolve());
  });
}
