import { isStatusOf } from '../../model/fields.ts';
import type { ResponseEdits } from '../../model/route.ts';
import { httpDate } from '../../net/http-date.ts';
import type { RawHeaders } from '../../net/http-exchange.ts';
import { editHeaders, removeHeader, type TemplateSource } from './edits.ts';
import { headerValue } from './matcher.ts';

/** Changes an answer's fields in place, as route and listener say. */
export function editResponse(
  headers: RawHeaders,
  status: number,
  all: readonly ResponseEdits[] | undefined,
  server: string | undefined,
  source: TemplateSource,
): void {
  for (const edits of all ?? []) {
    const meant = edits.status === undefined || isStatusOf(edits.status, status);
    if (meant) editHeaders(headers, edits, source);
  }
  if (server === undefined) return;
  removeHeader(headers, 'server');
  headers.push('server', server);
}

/** Adds what every answer has that the gateway gives itself. */
export function addOwnFields(headers: RawHeaders, hasBody: boolean): void {
  if (hasBody && headerValue(headers, 'content-type') === undefined) {
    headers.push('content-type', 'text/plain; charset=utf-8');
  }
  headers.push('date', httpDate());
}
