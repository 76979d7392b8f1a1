import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { systemCode } from '../base/errors.ts';
import type { EndpointAddress } from '../model/address.ts';
import type { ExchangeFailure } from './http-exchange.ts';
import { watchPeer } from './peer-watch.ts';

/** TLS towards an endpoint; texts, not paths. */
export type UpstreamTls = {
  readonly verify: boolean;
  readonly ca: string | undefined;
  readonly serverName: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly alpn: readonly string[];
};

/** What a connection to an endpoint is made of. */
export type DialOptions = {
  readonly address: EndpointAddress;
  readonly connectMs: number;
  /** See `watchPeer`. */
  readonly unacknowledgedMs?: number;
  readonly tls?: UpstreamTls | undefined;
  /** Sent before anything else: a PROXY header. */
  readonly preamble?: Buffer | undefined;
};

function secure(socket: Socket, options: UpstreamTls, host: string): tls.TLSSocket {
  const servername = options.serverName ?? (net.isIP(host) ? '' : host);
  return tls.connect({
    socket,
    rejectUnauthorized: options.verify,
    ALPNProtocols: [...options.alpn],
    ...(servername ? { servername } : {}),
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
    // The name is that of the service, also when the endpoint is an address.
    checkServerIdentity: (_, certificate) =>
      options.verify ? tls.checkServerIdentity(servername || host, certificate) : undefined,
  });
}

/**
 * Connects to an endpoint, TLS included, within `connectMs`. `done` is called once, with the socket
 * or with the reason; not after `cancel`.
 */
export function dial(
  options: DialOptions,
  done: (result: Socket | ExchangeFailure) => void,
): { cancel(): void } {
  const { address, connectMs } = options;
  const host = 'path' in address ? 'localhost' : address.host;
  const plain = net.connect({
    ...('path' in address ? { path: address.path } : { host, port: address.port }),
    allowHalfOpen: true,
    noDelay: true,
  });
  let socket: Socket = plain;
  let finished = false;
  const finish = (result: Socket | ExchangeFailure) => {
    if (finished) return;
    finished = true;
    clearTimeout(timer);
    for (const one of new Set([plain, socket])) one.off('error', onError);
    if (typeof result === 'string') {
      plain.on('error', () => {});
      plain.destroy();
    }
    done(result);
  };
  const onError = (error: Error) => {
    const code = systemCode(error);
    finish(code === 'ETIMEDOUT' ? 'connect-timeout' : code === 'ECONNRESET' ? 'reset' : 'refused');
  };
  const timer = setTimeout(() => finish('connect-timeout'), connectMs);
  plain.on('error', onError);
  plain.once('connect', () => {
    watchPeer(plain, options.unacknowledgedMs ?? 0);
    if (options.preamble) plain.write(options.preamble);
    if (!options.tls) {
      finish(plain);
      return;
    }
    const wrapped = secure(plain, options.tls, host);
    socket = wrapped;
    wrapped.on('error', onError);
    wrapped.once('secureConnect', () => finish(wrapped));
  });
  return {
    cancel: () => {
      if (finished) return;
      finished = true;
      clearTimeout(timer);
      plain.on('error', () => {});
      plain.destroy();
    },
  };
}
