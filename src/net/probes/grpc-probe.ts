import type { EndpointAddress } from '../../model/address.ts';
import { findField } from '../../wire/fields.ts';
import { parseGrpcStatus } from '../../wire/grpc.ts';
import {
  decodeHealthResponse,
  encodeHealthRequest,
  HEALTH_CHECK_PATH,
} from '../../wire/grpc-health.ts';
import { dial, type UpstreamTls } from '../dial.ts';
import type { ClientExchange, RawHeaders, ResponseHead, ResponseSink } from '../http-exchange.ts';
import { Http2Pool } from '../http2-client.ts';
import { dialFailure, failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';

const MAX_ANSWER = 4096;

/** How gRPC servers are asked. */
export type GrpcCheck = {
  /** '' for the server as a whole. */
  readonly service: string;
  readonly authority: string;
  readonly timeoutMs: number;
  readonly port: number | undefined;
  readonly tls: UpstreamTls | undefined;
};

/** Asks a server for the health of a service: SERVING passes. Source: gRPC health checking. */
export class GrpcProbe implements Probe {
  readonly #check: GrpcCheck;

  constructor(check: GrpcCheck) {
    this.#check = check;
  }

  run(address: EndpointAddress): Promise<ProbeResult> {
    const { port, tls, timeoutMs, authority, service } = this.#check;
    const target = 'path' in address || port === undefined ? address : { ...address, port };
    const pool = new Http2Pool(
      (connectMs, done) => dial({ address: target, connectMs, tls }, done),
      { idleMs: timeoutMs },
    );
    return new Promise((resolve) => {
      let call: ClientExchange | undefined;
      const settle = (result: ProbeResult) => {
        clearTimeout(timer);
        call?.cancel();
        pool.close();
        resolve(result);
      };
      const timer = setTimeout(() => settle(failedProbe('no answer in time', 'L7TOUT')), timeoutMs);
      const message = encodeHealthRequest(service);
      const headers = ['content-type', 'application/grpc', 'te', 'trailers'];
      headers.push('user-agent', 'sluice-health', 'grpc-timeout', `${Math.ceil(timeoutMs)}m`);
      call = pool.request(
        {
          method: 'POST',
          scheme: tls ? 'https' : 'http',
          authority,
          target: HEALTH_CHECK_PATH,
          headers,
          length: message.length,
          upgrade: undefined,
        },
        new Answer(settle),
        { connectMs: timeoutMs },
      );
      call.write(message);
      call.end();
    });
  }
}

/** Collects one answer and judges it. */
class Answer implements ResponseSink {
  readonly #settle: (result: ProbeResult) => void;
  #body: Buffer = Buffer.alloc(0);
  #headers: RawHeaders = [];
  #over = false;

  constructor(settle: (result: ProbeResult) => void) {
    this.#settle = settle;
  }

  inform(): void {}

  head({ status, headers }: ResponseHead): void {
    this.#headers = headers;
    if (status !== 200) this.#judge(failedProbe(`HTTP status ${status}`, 'L7STS', status));
  }

  data(chunk: Buffer): boolean {
    this.#body = Buffer.concat([this.#body, chunk]);
    if (this.#body.length > MAX_ANSWER) this.#judge(failedProbe('answer too large'));
    return true;
  }

  end(trailers: RawHeaders): void {
    const code = statusOf(trailers) ?? statusOf(this.#headers);
    if (code === undefined) this.#judge(failedProbe('answer is not gRPC'));
    else if (code === 5) this.#judge(failedProbe('the server does not know the service', 'L7STS'));
    else if (code === 12) this.#judge(failedProbe('the server has no health service', 'L7STS'));
    else if (code !== 0) this.#judge(failedProbe(`gRPC status ${code}`, 'L7STS'));
    else {
      const serving = decodeHealthResponse(this.#body);
      const known = serving !== undefined && serving !== 'need-more';
      if (serving === 'SERVING') this.#judge(passedProbe('L7OK'));
      else if (known) this.#judge(failedProbe(serving, 'L7STS'));
      else this.#judge(failedProbe('answer is not of the health service'));
    }
  }

  upgraded(): void {}

  fail(failure: string): void {
    this.#judge(dialFailure(failure));
  }

  drain(): void {}

  #judge(result: ProbeResult): void {
    if (this.#over) return;
    this.#over = true;
    this.#settle(result);
  }
}

function statusOf(fields: RawHeaders): number | undefined {
  const at = findField(fields, 'grpc-status');
  return at < 0 ? undefined : parseGrpcStatus(fields[at + 1]);
}
