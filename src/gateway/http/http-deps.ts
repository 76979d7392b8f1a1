import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import type { SupervisorLink } from '../ipc.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';
import type { OverloadGuard } from '../worker/overload.ts';

/** What HTTP handling is built on. */
export type HttpDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly link: SupervisorLink;
  readonly services: (name: string) => ServiceHandle | undefined;
  readonly cookieKey: string;
  readonly overload: OverloadGuard;
};
