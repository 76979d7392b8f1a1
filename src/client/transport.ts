import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { errorText, SluiceError } from '../base/errors.ts';

const TIMEOUT_MS = 60_000;
const MAX_ANSWER = 256 * 1024 * 1024;

/** Where a daemon's admin API answers. */
export type AdminAddress = { readonly options: RequestOptions; readonly text: string };

/** Reads `http(s)://HOST:PORT` or `unix:/PATH`. Throws `E_ADMIN_UNREACHABLE` for anything else. */
export function parseAdminAddress(text: string): AdminAddress {
  if (text.startsWith('unix:/')) {
    return { options: { socketPath: text.slice('unix:'.length), host: 'localhost' }, text };
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new SluiceError(
      'E_ADMIN_UNREACHABLE',
      `"${text}" is no address of an admin API: use http://HOST:PORT or unix:/PATH`,
    );
  }
  const { protocol, port } = url;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { options: { protocol, host, port, headers: { host: url.host } }, text };
}

/** Sends a call and yields the answer when its head is there. Rejects with `E_ADMIN_UNREACHABLE`. */
export function send(
  address: AdminAddress,
  call: { method: string; path: string; token: string | undefined; body?: unknown },
): Promise<IncomingMessage> {
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  const { options } = address;
  const request = options.protocol === 'https:' ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const sent = request({
      ...options,
      method: call.method,
      path: call.path,
      headers: {
        ...options.headers,
        ...(call.token ? { authorization: `Bearer ${call.token}` } : {}),
        ...(body
          ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
          : {}),
      },
    });
    sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error('it does not answer in time')));
    sent.once('response', (answer) => {
      sent.setTimeout(0);
      resolve(answer);
    });
    sent.once('error', (error) => {
      const hint = 'is sluiced running, with `admin` in its configuration?';
      const message = `no answer from ${address.text}: ${errorText(error)}; ${hint}`;
      reject(new SluiceError('E_ADMIN_UNREACHABLE', message, { cause: error }));
    });
    sent.end(body);
  });
}

/** The whole text of an answer, at most 256 MiB. */
export async function readText(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of answer) {
    size += (part as Buffer).length;
    if (size > MAX_ANSWER) throw new SluiceError('E_ADMIN_REFUSED', 'the answer is too large');
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts).toString();
}
