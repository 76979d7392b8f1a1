import type { ResponseEdits } from '../../model/route.ts';
import type { RawHeaders, ServerExchange } from '../../net/http-exchange.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import type { TemplateSource } from './edits.ts';
import { errorPage } from './error-page.ts';
import type { GrpcCall } from './grpc-call.ts';
import { addOwnFields, editResponse } from './response-fields.ts';
import type { SessionAccount } from './session-account.ts';

/** An answer that the gateway gives itself. */
export type OwnAnswer = {
  readonly status: number;
  /** Fields of ours are added in place. */
  readonly headers: RawHeaders;
  readonly text: string;
};

/** A refusal as its client reads it: a page with a status, or as gRPC puts it. */
export function refusalAnswer(
  status: number,
  reason: string,
  grpc: GrpcCall | undefined,
  listener: ListenerRuntime,
  pages: Parameters<typeof errorPage>[2],
  headers: RawHeaders = [],
): OwnAnswer {
  if (grpc) return { status: 200, headers: grpc.trailersOnly(status, reason), text: '' };
  const page = errorPage(status, listener, pages);
  return { status, headers: ['content-type', page.contentType, ...headers], text: page.body };
}

/** Sends an answer whole, and puts it into the account. */
export function sendOwn(
  exchange: ServerExchange,
  account: SessionAccount,
  { status, headers, text }: OwnAnswer,
  listener: ListenerRuntime,
  edits: readonly ResponseEdits[] | undefined,
  source: TemplateSource,
): void {
  const body = Buffer.from(text);
  account.status = status;
  account.bytesOut = body.length;
  addOwnFields(headers, text !== '');
  editResponse(headers, status, edits, listener.config.http.serverHeader, source);
  exchange.respond({ status, headers, length: body.length });
  exchange.write(body);
  exchange.end();
}
