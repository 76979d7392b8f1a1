import { type IncomingMessage, type RequestOptions, request } from 'node:http';
import type { Duplex } from 'node:stream';
import { errorText, SluiceError } from '../base/errors.ts';
import { readText } from './transport.ts';

const API = '/v1.50';

function addressOf(text: string): RequestOptions {
  const [, path] = /^unix:(?:\/\/)?(\/.+)$/.exec(text) ?? [];
  if (path !== undefined) return { socketPath: path, host: 'localhost' };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url && ['tcp:', 'http:'].includes(url.protocol) && url.port !== '') {
    return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port };
  }
  throw new SluiceError(
    'E_ENGINE_UNREACHABLE',
    `"${text}" is no address of an engine: use unix:///PATH or tcp://HOST:PORT`,
  );
}

/** Speaks to the engine of a daemon. Every call rejects with a `SluiceError` that says why. */
export class EngineClient {
  readonly #options: RequestOptions;
  readonly #text: string;

  /** `address` is `unix:///PATH` or `tcp://HOST:PORT`. */
  constructor(address: string) {
    this.#options = addressOf(address);
    this.#text = address;
  }

  /** The answer's JSON; undefined where there is none. */
  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const text = await readText(await this.open(method, path, body));
    // exempt(as): the caller names what the API promises there
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** The answer when its head is there. */
  async open(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    const answer = await this.#send<IncomingMessage>(method, path, body, 'response');
    if ((answer.statusCode ?? 0) < 400) return answer;
    throw refusal(await readText(answer), answer.statusCode);
  }

  /** A connection that has left HTTP. */
  hijack(path: string, body?: unknown): Promise<Duplex> {
    return this.#send<Duplex>('POST', path, body, 'upgrade');
  }

  #send<T>(
    method: string,
    path: string,
    body: unknown,
    wanted: 'response' | 'upgrade',
  ): Promise<T> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      ...(text === '' ? {} : { 'content-type': 'application/json' }),
      ...(text === '' && method === 'GET' ? {} : { 'content-length': Buffer.byteLength(text) }),
      ...(wanted === 'upgrade' ? { connection: 'Upgrade', upgrade: 'tcp' } : {}),
    };
    return new Promise((resolve, reject) => {
      const sent = request({ ...this.#options, method, path: `${API}${path}`, headers });
      sent.once('response', (answer) => {
        // exempt(as): this is the wanted kind, or the upgrade was refused
        if (wanted === 'response') resolve(answer as T);
        else readText(answer).then((told) => reject(refusal(told, answer.statusCode)), reject);
      });
      sent.once('upgrade', (_, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        // exempt(as): only those who want an upgrade get one
        resolve(socket as T);
      });
      sent.once('error', (error) => {
        const message = `no answer from ${this.#text}: ${errorText(error)}; does sluiced run with its engine?`;
        reject(new SluiceError('E_ENGINE_UNREACHABLE', message, { cause: error }));
      });
      sent.end(text);
    });
  }
}

function refusal(text: string, status: number | undefined): SluiceError {
  let message = `the engine answered ${status}`;
  try {
    message = String((JSON.parse(text) as { message?: unknown }).message);
  } catch {
    // Something else than the engine has answered; its status is all there is to tell.
  }
  return new SluiceError('E_ENGINE_REFUSED', message);
}

const FRAME_HEAD = 8;
const STDERR = 2;

/** Takes framed output apart; returns what takes the next piece. */
export function frameReader(
  output: (stream: 'stdout' | 'stderr', data: Buffer) => void,
): (piece: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (piece) => {
    rest = Buffer.concat([rest, piece]);
    while (rest.length >= FRAME_HEAD) {
      const end = FRAME_HEAD + rest.readUInt32BE(4);
      if (rest.length < end) return;
      output(rest[0] === STDERR ? 'stderr' : 'stdout', rest.subarray(FRAME_HEAD, end));
      rest = rest.subarray(end);
    }
  };
}
