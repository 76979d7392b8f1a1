import { execFile } from 'node:child_process';

/** Tells systemd of a change of state, when it started this process. Source: sd_notify(3). */
export function notifyServiceManager(env: NodeJS.ProcessEnv, state: string): void {
  if (!env['NOTIFY_SOCKET']) return;
  // Node has no datagram unix sockets; systemd's own tool speaks for us (NotifyAccess=all).
  execFile('systemd-notify', [`--pid=${process.pid}`, state], () => {});
}

/** Sends the watchdog its signs of life at half the interval that it asks for. */
export function startWatchdog(env: NodeJS.ProcessEnv): () => void {
  const intervalMs = Number(env['WATCHDOG_USEC'] ?? 0) / 2000;
  if (!(intervalMs > 0)) return () => {};
  const timer = setInterval(() => notifyServiceManager(env, 'WATCHDOG=1'), intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}
