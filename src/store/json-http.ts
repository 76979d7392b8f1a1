import { Agent, type IncomingMessage, request } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';

/** Certificates for a store that speaks TLS, as PEM; undefined: the machine's authorities. */
export type StoreTls = {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
};

/** Answers that are read at most. */
const MAX_ANSWER_BYTES = 512 * 1024 * 1024;
/** One line of a stream at most: a transaction of large values. */
const MAX_LINE = 16 * 1024 * 1024;

/** A JSON API over HTTP/1.1 at one address. */
export class JsonHttp {
  readonly #base: URL;
  readonly #agent: Agent;

  constructor(base: string, tls: StoreTls | undefined) {
    this.#base = new URL(base);
    this.#agent = tls
      ? new TlsAgent({ keepAlive: true, ca: tls.ca, cert: tls.cert, key: tls.key })
      : new Agent({ keepAlive: true });
  }

  /** The whole answer. Rejects when there is none in time, or one that is not 200. */
  async post(path: string, body: unknown, timeoutMs: number): Promise<unknown> {
    const answer = await this.#open(path, body, AbortSignal.timeout(timeoutMs));
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer) {
      // exempt(as): no encoding is set
      parts.push(part as Buffer);
      size += (part as Buffer).length;
      if (size > MAX_ANSWER_BYTES) throw new Error('the answer is too large');
    }
    const text = Buffer.concat(parts).toString();
    if (answer.statusCode === 200) return JSON.parse(text);
    throw new Error(`status ${answer.statusCode}: ${text.slice(0, 200).trim()}`);
  }

  /** One JSON value a line until the signal fires; rejects when it ends before. */
  async stream(
    path: string,
    body: unknown,
    signal: AbortSignal,
    onValue: (value: unknown) => void,
  ): Promise<void> {
    const answer = await this.#open(path, body, signal);
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    let text = '';
    answer.setEncoding('utf8');
    for await (const part of answer) {
      text += String(part);
      const lines = text.split('\n');
      text = lines.pop() ?? '';
      if (text.length > MAX_LINE) throw new Error('a line of the stream is too long');
      for (const line of lines) if (line.trim() !== '') onValue(JSON.parse(line));
    }
    throw new Error('the stream ended');
  }

  close(): void {
    this.#agent.destroy();
  }

  #open(path: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> {
    const text = JSON.stringify(body);
    const send = this.#base.protocol === 'https:' ? tlsRequest : request;
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    };
    const options = { method: 'POST', headers, agent: this.#agent, signal };
    return new Promise((resolve, reject) => {
      const call = send(new URL(path, this.#base), options, resolve);
      call.on('error', reject);
      call.end(text);
    });
  }
}
