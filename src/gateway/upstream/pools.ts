import type { Clock } from '../../base/clock.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { Service } from '../../model/service.ts';
import { AutoPool, speaksHttp2 } from '../../net/auto-pool.ts';
import { dial, type UpstreamTls } from '../../net/dial.ts';
import type { HttpClientPool } from '../../net/http-exchange.ts';
import { type Dial, Http1Pool } from '../../net/http1-client.ts';
import { Http2Pool } from '../../net/http2-client.ts';
import type { UpstreamEndpoint } from './service-handle.ts';

/** What pools are built on. */
export type PoolDeps = {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  /** The text of a file that the configuration names. */
  readonly file: (path: string) => string;
  readonly unacknowledgedMs: () => number;
};

/** TLS towards a service's endpoints, with the texts of its files; undefined when it has none. */
export function upstreamTls(
  { tls }: Service,
  file: (path: string) => string,
  alpn: readonly string[],
): UpstreamTls | undefined {
  if (!tls) return undefined;
  const text = (path: string | undefined) => (path === undefined ? undefined : file(path));
  return {
    verify: tls.verify,
    ca: text(tls.ca),
    serverName: tls.serverName,
    cert: text(tls.cert),
    key: text(tls.key),
    alpn,
  };
}

const ALPN = {
  http1: ['http/1.1'],
  h2: ['h2'],
  h2c: [],
  auto: ['h2', 'http/1.1'],
} as const;

/** Makes the pool of HTTP connections to one endpoint. */
export function makePool(
  name: string,
  service: Service,
  endpoint: UpstreamEndpoint,
  deps: PoolDeps,
): HttpClientPool {
  const duration = deps.metrics.histogram('sluice_service_connect_duration_seconds', name);
  const { protocol } = service;
  const tls = upstreamTls(service, deps.file, ALPN[protocol]);
  const { maxIdle, idle } = service.keepAlive;
  const connect: Dial = (connectMs, done) => {
    const startedAt = deps.clock.now();
    const unacknowledgedMs = service.timeouts?.unacknowledged ?? deps.unacknowledgedMs();
    return dial({ address: endpoint.address, connectMs, unacknowledgedMs, tls }, (result) => {
      const tookMs = deps.clock.now() - startedAt;
      duration.observe(tookMs / 1000);
      endpoint.tally.connected(tookMs);
      if (protocol !== 'h2' || typeof result === 'string' || speaksHttp2(result)) done(result);
      else {
        result.destroy();
        done('protocol');
      }
    });
  };
  const options = { maxIdle, idleMs: idle, pipelining: service.http.pipelining };
  if (protocol === 'auto') return new AutoPool(connect, options);
  return protocol === 'http1' ? new Http1Pool(connect, options) : new Http2Pool(connect, options);
}
