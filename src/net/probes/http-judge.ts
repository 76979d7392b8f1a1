import { linearRegex } from '../../base/regex.ts';
import { isStatusOf } from '../../model/fields.ts';
import type { HttpHealthCheck } from '../../model/health-check.ts';
import { BodyDecoder } from '../../wire/http1-body.ts';
import { parseResponseHead } from '../../wire/http1-head.ts';
import { failedProbe, type ProbeResult, passedProbe } from './probe.ts';

function bodyOf(buffer: Buffer, decoder: BodyDecoder): { text: string; complete: boolean } {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const step = decoder.decode(buffer, at);
    if (step.kind === 'data') {
      parts.push(step.data);
      at += step.consumed;
    } else {
      return { text: Buffer.concat(parts).toString(), complete: step.kind !== 'need-more' };
    }
  }
}

/** Judges an HTTP answer by the check's status ranges and body. Redirects are not followed. */
export function judgeHttp(check: Pick<HttpHealthCheck, 'method' | 'expect'>) {
  const { status: ranges, body } = check.expect;
  const wanted = body === undefined || typeof body === 'string' ? body : linearRegex(body.regex);
  return (received: Buffer, ended: boolean): ProbeResult | undefined => {
    const head = parseResponseHead(received, 0, check.method);
    if (head.kind === 'error') return failedProbe('answer is not HTTP');
    if (head.kind === 'need-more') return undefined;
    const { status, framing } = head.value;
    if (!isStatusOf(ranges, status)) {
      return failedProbe(`status ${status}, expected ${ranges}`, 'L7STS', status);
    }
    if (wanted === undefined) return passedProbe('L7OK', status);
    const { text, complete } = bodyOf(received.subarray(head.consumed), new BodyDecoder(framing));
    const found = typeof wanted === 'string' ? text.includes(wanted) : wanted.test(text);
    if (found) return passedProbe('L7OK', status);
    const over = complete || ended;
    return over ? failedProbe('the body is not what is expected', 'L7RSP', status) : undefined;
  };
}
