import type { Socket } from 'node:net';
import { decodeProxyHeader, type ProxyHeader } from '../../wire/proxy-protocol.ts';

/**
 * Reads the PROXY header at the start of a paused connection and puts the bytes after it back.
 * `done` is called once, unless the connection closes first.
 */
export function readProxyHeader(
  socket: Socket,
  timeoutMs: number,
  done: (result: ProxyHeader | 'proxy-malformed' | 'proxy-timeout') => void,
): void {
  let received: Buffer = Buffer.alloc(0);
  const onError = () => {};
  const stop = () => {
    clearTimeout(timer);
    socket.off('data', onData).off('end', onEnd).off('close', stop).off('error', onError);
    socket.pause();
  };
  const finish = (result: Parameters<typeof done>[0]) => {
    stop();
    done(result);
  };
  const timer = setTimeout(() => finish('proxy-timeout'), timeoutMs);
  const onEnd = () => finish('proxy-malformed');
  const onData = (data: Buffer) => {
    received = received.length === 0 ? data : Buffer.concat([received, data]);
    const result = decodeProxyHeader(received);
    if (result.kind === 'need-more') return;
    if (result.kind === 'error') {
      finish('proxy-malformed');
      return;
    }
    stop();
    if (result.consumed < received.length) socket.unshift(received.subarray(result.consumed));
    done(result.header);
  };
  socket.on('data', onData).on('end', onEnd).on('close', stop).on('error', onError);
  socket.resume();
}
