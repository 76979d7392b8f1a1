import { request } from 'node:http';
import type { Logger } from '../base/logger.ts';
import type { HandoverMessage } from '../gateway/supervisor/handover.ts';
import type { Worker } from '../gateway/worker/worker.ts';
import { acceptChannels } from '../net/handle-channel.ts';
import type { NativeHandle } from '../net/handles.ts';
import { LEAVE_SIGNAL } from './adoption.ts';

const ASK_EVERY_MS = 500;
const ASK_TIMEOUT_MS = 400;

/** Whether a supervisor answers on the admin address and its workers serve. */
function isReady(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: '/readyz', timeout: ASK_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(false));
    asked.end();
  });
}

/** Hands everything over on the channel that a new supervisor has opened, and closes it. */
function surrender(worker: Worker, logger: Logger): void {
  logger.info('a new supervisor takes the sockets over');
  const send = (message: HandoverMessage, handle?: NativeHandle) =>
    process.send?.(message, handle as never, { keepOpen: true }, () => {});
  send({ type: 'orphan', pid: process.pid });
  worker.handOver(send);
}

/**
 * Lets a worker that has lost its supervisor serve, and check its endpoints, until a new one has
 * taken over. Whoever could not take the sockets over is asked at the admin address whether it
 * serves (their sockets share the addresses). Without either the worker serves until SIGTERM.
 */
export function outliveSupervisor(
  worker: Worker,
  adoption: NativeHandle | undefined,
  logger: Logger,
): void {
  worker.goAlone();
  const leave = async () => {
    clearInterval(timer);
    logger.info('a new supervisor is ready; draining');
    await worker.drain(worker.shutdownTimeoutMs, 'wait');
    process.exit(0);
  };
  process.once(LEAVE_SIGNAL, () => void leave());
  if (adoption) acceptChannels(adoption, () => surrender(worker, logger));
  const admin = worker.adminAddress;
  let asking = false;
  const timer = setInterval(async () => {
    if (!admin || asking) return;
    asking = true;
    const ready = await isReady(admin.host, admin.port);
    asking = false;
    if (ready) void leave();
  }, ASK_EVERY_MS);
}
