import { linearRegex } from '../../base/regex.ts';
import type { HealthCheck, HttpHealthCheck } from '../../model/health-check.ts';
import { healthCheck } from '../../model/health-check.ts';
import type { Service } from '../../model/service.ts';
import { requestHead } from '../../wire/http1-write.ts';
import { FRAME, PREFACE } from '../../wire/http2-frames.ts';
import type { UpstreamTls } from '../dial.ts';
import { DnsProbe } from './dns-probe.ts';
import { readEscapes } from './escapes.ts';
import { ExecProbe } from './exec-probe.ts';
import { GrpcProbe } from './grpc-probe.ts';
import { judgeHttp } from './http-judge.ts';
import { failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';
import { type Exchange, StreamProbe } from './stream-probe.ts';

/**
 * The check of a service that configures none. For HTTP any answer counts, because a frozen or dead
 * server gives none and what a 404 at `/` means is not ours to say; otherwise a connection does.
 */
export function defaultCheck(service: Service, http: boolean): HealthCheck {
  const { protocol } = service;
  if (!http || service.proxyProtocol) return healthCheck.parse({ type: 'tcp' });
  if (protocol === 'auto') return healthCheck.parse({ type: 'tls', verify: false });
  if (protocol !== 'http1') return healthCheck.parse({ type: 'h2' });
  const type = service.tls ? 'https' : 'http';
  return healthCheck.parse({
    type,
    expect: { status: '100-599' },
    ...(service.tls ? { verify: false } : {}),
  });
}

function httpRequest(check: HttpHealthCheck): Buffer {
  const headers = ['user-agent', 'sluice-health', 'accept', '*/*'];
  for (const [name, value] of Object.entries(check.headers ?? {})) headers.push(name, value);
  const host = check.host ?? 'localhost';
  return Buffer.from(
    requestHead(check.method, check.path, host, headers, 'connection: close\r\n'),
    'latin1',
  );
}

function probeTls(
  { verify, serverName }: { verify: boolean; serverName?: string | undefined },
  { tls }: Service,
  file: (path: string) => string,
  alpn: readonly string[],
): UpstreamTls {
  const text = (path: string | undefined) => (path === undefined ? undefined : file(path));
  return {
    verify,
    ca: text(tls?.ca),
    serverName: serverName ?? tls?.serverName,
    cert: text(tls?.cert),
    key: text(tls?.key),
    alpn,
  };
}

function grpcProbe(
  check: Extract<HealthCheck, { type: 'grpc' }>,
  service: Service,
  file: (path: string) => string,
): Probe {
  const { tls } = service;
  return new GrpcProbe({
    service: check.service,
    authority: check.authority ?? tls?.serverName ?? 'localhost',
    timeoutMs: check.timeout,
    port: check.port,
    tls: tls && probeTls(tls, service, file, ['h2']),
  });
}

/** A client's first words, to which any HTTP/2 server answers with its SETTINGS. */
const HTTP2_OPENING = {
  send: Buffer.concat([PREFACE, Buffer.from([0, 0, 0, FRAME.settings, 0, 0, 0, 0, 0])]),
  judge: (received: Buffer): ProbeResult | undefined => {
    if (received.length < 9) return undefined;
    return received[3] === FRAME.settings
      ? passedProbe('L7OK')
      : failedProbe('answer is not HTTP/2');
  },
};

/** Makes the check that a service asks for; `file` yields the text of a file it names. */
export function createProbe(
  check: HealthCheck,
  service: Service,
  file: (path: string) => string,
): Probe {
  if (check.type === 'exec') return new ExecProbe(check.command, check.timeout);
  if (check.type === 'dns') return new DnsProbe(check);
  if (check.type === 'grpc') return grpcProbe(check, service, file);
  if (check.type === 'h2') {
    const tls = service.tls && probeTls(service.tls, service, file, ['h2']);
    const { timeout: timeoutMs, port } = check;
    return new StreamProbe({ timeoutMs, port, tls, preamble: undefined, ...HTTP2_OPENING });
  }
  const encrypted = check.type === 'https' || check.type === 'tls';
  const alpn = check.type === 'https' ? ['http/1.1'] : [];
  const tls = encrypted ? probeTls(check, service, file, alpn) : undefined;
  const base = { timeoutMs: check.timeout, port: check.port, tls, preamble: undefined };
  if (check.type === 'http' || check.type === 'https') {
    return new StreamProbe({ ...base, send: httpRequest(check), judge: judgeHttp(check) });
  }
  if (check.type !== 'send-expect')
    return new StreamProbe({ ...base, send: undefined, judge: undefined });
  return new StreamProbe({ ...base, ...exchangeOf(check), more: check.more?.map(exchangeOf) });
}

type Turn = Pick<Extract<HealthCheck, { type: 'send-expect' }>, 'send' | 'expect'>;

function exchangeOf({ send, expect }: Turn): Exchange {
  const wanted =
    typeof expect === 'string' ? readEscapes(expect).toString('latin1') : linearRegex(expect.regex);
  return {
    send: send === undefined ? undefined : readEscapes(send),
    judge: (received, ended) => {
      const text = received.toString('latin1');
      const found = typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text);
      if (found) return passedProbe('L7OK');
      return ended ? failedProbe('the answer is not what is expected') : undefined;
    },
  };
}
