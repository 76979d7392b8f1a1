import type { Duplex } from 'node:stream';
import type { StreamConnection } from './stream-connection.ts';
import type { Work } from './work.ts';

/** Header fields in wire order, flat: name, value, name, value. HTTP/2 names are in lower case. */
export type RawHeaders = string[];

/** Length of a body: known, `0` for none, or `chunked` when only its end will tell. */
export type BodyLength = number | 'chunked';

/** A request's head, already strict: exactly one authority, one framing, a normal form of path. */
export type RequestHead = {
  readonly version: '1.0' | '1.1' | '2';
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host with optional port, lower case. */
  readonly authority: string;
  /** Path in normal form, without the query. */
  readonly path: string;
  /** Query without `?`, or undefined. */
  readonly query: string | undefined;
  /** Without Host, pseudo headers, framing and hop-by-hop fields (and those `Connection` names). */
  readonly headers: RawHeaders;
  readonly length: BodyLength;
  /** Token of a wanted upgrade (`websocket`), by Upgrade or by `:protocol`. */
  readonly upgrade: string | undefined;
  readonly expectContinue: boolean;
};

/** A response's head towards the client. */
export type ResponseHead = {
  readonly status: number;
  /** Without framing and hop-by-hop fields. */
  readonly headers: RawHeaders;
  readonly length: BodyLength;
};

/** What a refusal shows to people. */
export type Page = { readonly body: string; readonly contentType: string };

/** How an exchange ended before its time. */
export type ExchangeFailure =
  | 'refused'
  | 'connect-timeout'
  | 'reset'
  | 'timeout'
  | 'protocol'
  | 'cancelled'
  | 'too-large';

/** Takes a body piece by piece. `data` returns false to ask for a pause until `resume` is called. */
export interface BodySink {
  data(chunk: Buffer): boolean;
  /** Whether nobody needs the memory of what `data` got any more; default: it may be needed. */
  passedOn?(): boolean;
  end(trailers: RawHeaders): void;
  fail(failure: ExchangeFailure): void;
}

/** One request of a client: implemented by the HTTP/1 server connection and the HTTP/2 stream. */
export interface ServerExchange {
  readonly head: RequestHead;
  readonly connection: StreamConnection;
  /** Starts the request's body; called at most once, at once or later. Without it nothing is read. */
  readBody(sink: BodySink): void;
  /** Lets the body flow again after `data` returned false. */
  resumeBody(): void;
  /** Sends an interim response (103, or 100 on demand). */
  inform(status: number, headers: RawHeaders): void;
  /** Sends the head; HEAD, 204 and 304 take no `write`. */
  respond(head: ResponseHead): void;
  /** False: full, wait for `onDrain`. */
  write(chunk: Buffer): boolean;
  /** Whether nothing that was written waits in this process. */
  readonly hasGoneOut: boolean;
  end(trailers?: RawHeaders): void;
  /** Ends the answer unclean: resets the stream or closes the connection. */
  abort(): void;
  /** Accepts the upgrade (101, or 200 on HTTP/2) and hands over the raw tunnel. */
  acceptUpgrade(headers: RawHeaders): Duplex;
  onDrain: () => void;
  /** What is made of the request, for whoever lists it. */
  work: Work | undefined;
  /** The client is gone before the answer was complete; not called after `end` has gone out. */
  onClose: () => void;
}

/** What decides whether a request that failed may be sent again. */
export type FailureDetail = {
  /** The connection had served before: a keep-alive race is likely. */
  readonly reused: boolean;
  readonly bytesReceived: number;
  /** The endpoint has said that it did not look at the request. Source: RFC 9113 section 8.7. */
  readonly unprocessed?: boolean;
};

/** What an endpoint's answer calls, in this order: inform*, (head, data*, end) | upgraded | fail. */
export interface ResponseSink {
  inform(status: number, headers: RawHeaders): void;
  head(head: ResponseHead): void;
  /** False asks for a pause until `ClientExchange.resumeBody`. */
  data(chunk: Buffer): boolean;
  /** Whether nobody needs the memory of what `data` got any more; default: it may be needed. */
  passedOn?(): boolean;
  end(trailers: RawHeaders): void;
  /** The endpoint agreed to the upgrade; `tunnel` carries what follows. */
  upgraded(headers: RawHeaders, tunnel: Duplex): void;
  fail(failure: ExchangeFailure, detail: FailureDetail): void;
  /** Room again after `write` returned false. */
  drain(): void;
}

/** One request towards an endpoint. */
export interface ClientExchange {
  /** False: full, wait for `drain`. */
  write(chunk: Buffer): boolean;
  /** Whether nothing that was written waits in this process; default: it may. */
  readonly hasGoneOut?: boolean;
  end(trailers?: RawHeaders): void;
  resumeBody(): void;
  /** Gives up; no callback follows. */
  cancel(): void;
}

/** A request as sent to an endpoint: complete headers but for framing. */
export type OutgoingRequest = {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  /** Path with query. */
  readonly target: string;
  readonly headers: RawHeaders;
  readonly length: BodyLength;
  readonly upgrade: string | undefined;
};

/** How a connection for a request is had. */
export type RequestOptions = {
  readonly connectMs: number;
  /** A new connection, none that was kept: others may be as dead as the one tried before. */
  readonly fresh?: boolean;
};

/** Connections to one endpoint, kept and shared. */
export interface HttpClientPool {
  request(request: OutgoingRequest, sink: ResponseSink, options: RequestOptions): ClientExchange;
  /** Idle connections close at once, busy ones after their exchange. */
  close(): void;
  readonly idle: number;
}
