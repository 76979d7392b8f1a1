import type { Clock } from '../../base/clock.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { Service } from '../../model/service.ts';
import { dial, type UpstreamTls } from '../../net/dial.ts';
import type { HttpClientPool } from '../../net/http-exchange.ts';
import { Http1Pool } from '../../net/http1-client.ts';
import type { UpstreamEndpoint } from './service-handle.ts';

/** What pools are built on. */
export type PoolDeps = {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  /** The text of a file that the configuration names. */
  readonly file: (path: string) => string;
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

/** Makes the pool of HTTP connections to one endpoint. */
export function makePool(
  name: string,
  service: Service,
  endpoint: UpstreamEndpoint,
  deps: PoolDeps,
): HttpClientPool {
  const duration = deps.metrics.histogram('sluice_service_connect_duration_seconds', name);
  const tls = upstreamTls(service, deps.file, ['http/1.1']);
  const { maxIdle, idle } = service.keepAlive;
  return new Http1Pool(
    (connectMs, done) => {
      const startedAt = deps.clock.now();
      return dial({ address: endpoint.address, connectMs, tls }, (result) => {
        duration.observe((deps.clock.now() - startedAt) / 1000);
        done(result);
      });
    },
    { maxIdle, idleMs: idle },
  );
}
