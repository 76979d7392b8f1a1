import { EventEmitter } from 'node:events';

/** What the client of Consul yields beside an answer's body. */
export type Answer = { readonly headers: Readonly<Record<string, string | undefined>> };

/** What it takes to end a request by (`cancel`) and to yield the answer's headers as well. */
export class QueryContext extends EventEmitter {
  readonly includeResponse = true;
}
