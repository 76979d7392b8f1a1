import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { errorText, SluiceError, systemCode } from '../base/errors.ts';
import type { PluginAddress } from './discovery.ts';

/** What a plugin answered: an object whose fields are taken as perhaps missing. */
export type PluginAnswer = Readonly<Record<string, unknown>>;

/** How long a plugin is waited for. */
export type PluginPatience = {
  /** For the answer to one call. */
  readonly callTimeoutMs: number;
  /** Between tries to connect; as many more tries as there are values. */
  readonly retryDelaysMs: readonly number[];
};

export const DEFAULT_PATIENCE: PluginPatience = {
  callTimeoutMs: 30_000,
  retryDelaysMs: [100, 300, 900],
};

/** Source: the Engine's plugin API, "API design". */
const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.1+json';
const MAX_BODY_BYTES = 1024 * 1024;
const MAX_TEXT = 500;
/** Errors that tell that nobody has seen the request. */
const NOBODY = new Set(['ECONNREFUSED', 'ENOENT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND']);

/** The plugin has not answered: whether it did what was asked is not known. */
export class PluginSilence extends SluiceError {
  constructor(message: string, cause?: unknown) {
    super('E_PLUGIN_UNREACHABLE', message, { cause });
  }
}

function options(address: PluginAddress): RequestOptions {
  if (address.kind === 'unix') return { socketPath: address.path };
  const { host, port } = address;
  if (address.kind === 'tcp') return { host, port };
  const file = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path));
  const material = { ca: file(address.ca), cert: file(address.cert), key: file(address.key) };
  return { host, port, ...material, ...{ rejectUnauthorized: address.verify } };
}

async function readBody(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response) {
    length += part.length;
    if (length > MAX_BODY_BYTES) {
      throw new SluiceError('E_PLUGIN_ANSWER', `its answer has more than ${MAX_BODY_BYTES} bytes`);
    }
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function parse(text: string): PluginAnswer | undefined {
  try {
    const value: unknown = JSON.parse(text.trim() === '' ? '{}' : text);
    if (value === null) return {};
    if (typeof value !== 'object' || Array.isArray(value)) return undefined;
    return Object.fromEntries(Object.entries(value));
  } catch {
    return undefined;
  }
}

/** What an answer says of a failure. The network half calls it `Err`, the other `Error`. */
function refusal(answer: PluginAnswer | undefined): string | undefined {
  for (const text of [answer?.['Err'], answer?.['Error']]) {
    if (typeof text === 'string' && text !== '') return text.slice(0, MAX_TEXT);
  }
  return undefined;
}

/** Calls of one plugin: JSON over HTTP, one connection for each call. */
export class PluginClient {
  readonly name: string;
  readonly #address: PluginAddress;
  readonly #patience: PluginPatience;

  constructor(name: string, address: PluginAddress, patience: PluginPatience) {
    this.name = name;
    this.#address = address;
    this.#patience = patience;
  }

  /**
   * Throws `PluginSilence` when there is no answer in time, `E_PLUGIN_ANSWER` for one that cannot
   * be understood and `E_PLUGIN_REFUSED` in the plugin's words. Only what nobody can have seen is
   * sent again.
   */
  async call(method: string, body: unknown): Promise<PluginAnswer> {
    for (const pauseMs of this.#patience.retryDelaysMs) {
      try {
        return await this.#once(method, body);
      } catch (error) {
        if (!(error instanceof PluginSilence) || !NOBODY.has(systemCode(error.cause) ?? '')) {
          throw error;
        }
        await delay(pauseMs);
      }
    }
    return this.#once(method, body);
  }

  async #once(method: string, body: unknown): Promise<PluginAnswer> {
    const { callTimeoutMs } = this.#patience;
    const told = `plugin "${this.name}": ${method}`;
    const signal = AbortSignal.timeout(callTimeoutMs);
    let status: number;
    let text: string;
    try {
      const response = await this.#send(method, JSON.stringify(body), signal);
      status = response.statusCode ?? 0;
      text = await readBody(response);
    } catch (error) {
      if (error instanceof SluiceError) {
        throw new SluiceError(error.code, `${told}: ${error.message}`);
      }
      if (signal.aborted) throw new PluginSilence(`${told}: no answer within ${callTimeoutMs} ms`);
      throw new PluginSilence(`${told}: ${errorText(error)}`, error);
    }
    const answer = parse(text);
    const said = refusal(answer);
    if (said !== undefined) throw new SluiceError('E_PLUGIN_REFUSED', `${told}: ${said}`);
    if (status !== 200) {
      const words = text.trim().slice(0, MAX_TEXT);
      throw new SluiceError('E_PLUGIN_REFUSED', `${told}: status ${status}: ${words}`);
    }
    if (!answer) {
      throw new SluiceError('E_PLUGIN_ANSWER', `${told}: its answer is not a JSON object`);
    }
    return answer;
  }

  #send(method: string, body: string, signal: AbortSignal): Promise<IncomingMessage> {
    const send = this.#address.kind === 'tls' ? tlsRequest : plainRequest;
    return new Promise((resolve, reject) => {
      const headers = {
        host: 'plugin',
        accept: MEDIA_TYPE,
        'content-type': MEDIA_TYPE,
        'content-length': Buffer.byteLength(body),
      };
      const call = send(
        { ...options(this.#address), method: 'POST', path: `/${method}`, headers, signal },
        resolve,
      );
      call.once('error', reject);
      call.setNoDelay(true);
      call.end(body);
    });
  }
}
