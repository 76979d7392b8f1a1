import { request } from 'node:http';
import type { Logger } from '../base/logger.ts';
import type { Worker } from '../gateway/worker/worker.ts';

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

/**
 * Lets a worker that has lost its supervisor serve until a new one is ready beside it (their
 * sockets share the addresses), then drains it. Without an admin address it serves until SIGTERM.
 */
export function watchForSuccessor(worker: Worker, logger: Logger): void {
  const admin = worker.adminAddress;
  if (!admin) return;
  const timer = setInterval(async () => {
    if (!(await isReady(admin.host, admin.port))) return;
    clearInterval(timer);
    logger.info('a new supervisor is ready; draining');
    await worker.drain(worker.shutdownTimeoutMs);
    process.exit(0);
  }, ASK_EVERY_MS);
}
