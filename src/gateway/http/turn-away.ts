import type { ServerExchange } from '../../net/http-exchange.ts';
import { RETRY_AFTER_S } from '../../net/http1-server.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import { GrpcCall } from './grpc-call.ts';
import type { HttpDeps } from './http-deps.ts';
import type { ListenerPlan } from './listener-plan.ts';
import { refusalAnswer, sendOwn } from './own-answer.ts';
import { SessionAccount } from './session-account.ts';

/**
 * Answers a request that there is no time for: 503, or as gRPC puts it. What it wants is not looked
 * at, since a refusal that costs as much as an answer helps nobody: it counts for its listener, and
 * for no route or service.
 */
export function turnAway(
  exchange: ServerExchange,
  listener: ListenerRuntime,
  plan: ListenerPlan,
  deps: HttpDeps,
): void {
  const { head, connection } = exchange;
  const client = plan.forwarder.client(head, connection);
  const account = new SessionAccount(exchange, listener, plan, client, deps);
  const grpc = GrpcCall.of(head);
  const retry = ['retry-after', String(RETRY_AFTER_S)];
  const answer = refusalAnswer(503, 'overload', grpc, listener, undefined, retry);
  const ports = { clientPort: connection.client.port, localPort: connection.local.port };
  const source = { head, client, ...ports };
  sendOwn(exchange, account, answer, listener, undefined, source);
  account.grpcStatus = grpc?.statusName;
  account.close('overload');
}
