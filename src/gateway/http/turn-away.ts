import type { ServerExchange } from '../../net/http-exchange.ts';
import { RETRY_AFTER_MS } from '../../net/http1-server.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import { errorPage } from './error-page.ts';
import { GrpcCall } from './grpc-call.ts';
import type { HttpDeps } from './http-deps.ts';
import type { ListenerPlan } from './listener-plan.ts';
import { addOwnFields, editResponse } from './response-fields.ts';
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
  const client = plan.forwarder.client(exchange.head, exchange.connection);
  const account = new SessionAccount(exchange, listener, plan, client, deps);
  const grpc = GrpcCall.of(exchange.head);
  const page = errorPage(503, listener, undefined);
  const body = Buffer.from(grpc ? '' : page.body);
  const headers = grpc
    ? grpc.trailersOnly(503, 'overload')
    : ['content-type', page.contentType, 'retry-after', String(RETRY_AFTER_MS / 1000)];
  addOwnFields(headers, false);
  editResponse(headers, undefined, listener.config.http.serverHeader);
  account.status = grpc ? 200 : 503;
  account.grpcStatus = grpc?.statusName;
  account.bytesOut = body.length;
  exchange.respond({ status: account.status, headers, length: body.length });
  exchange.write(body);
  exchange.end();
  account.close('overload');
}
