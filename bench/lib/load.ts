import { execFile } from 'node:child_process';

/** What a load generator counted; `refused` are those errors that were answers. */
export type Load = { requests: number; errors: number; refused: number; bytes: number };

const UNITS: Readonly<Record<string, number>> = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };

/** Runs a command on the CPU of the load; its output. */
export function onLoadCpu(command: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('taskset', ['-c', '1', ...command], (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
  });
}

/** Loads with `wrk`; `within` is a command before it, such as one that enters a namespace. */
export async function wrk(
  target: string,
  load: {
    readonly connections: number;
    readonly seconds: number;
    readonly headers?: readonly string[];
  },
  within: readonly string[] = [],
): Promise<Load> {
  const headers = (load.headers ?? []).flatMap((header) => ['-H', header]);
  const options = ['-t1', `-c${load.connections}`, `-d${load.seconds}s`, ...headers, target];
  const text = await onLoadCpu([...within, 'wrk', ...options]);
  const [, count = '0', size = '0', unit = 'B'] =
    /(\d+) requests in [^,]+, ([\d.]+)([KMGT]?B) read/.exec(text) ?? [];
  const socket = [...(/Socket errors:.*/.exec(text)?.[0].matchAll(/\d+/g) ?? [])];
  const errors = socket.reduce((sum, [number]) => sum + Number(number), 0);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  return {
    requests: Number(count),
    errors: errors + refused,
    refused,
    bytes: Number(size) * (UNITS[unit] ?? 1),
  };
}

/** Loads with `h2load`, ten streams a connection. */
export async function h2load(
  target: string,
  load: { readonly connections: number; readonly seconds: number },
): Promise<Load> {
  const options = ['-t1', `-c${load.connections}`, '-m10', '-D', String(load.seconds)];
  const text = await onLoadCpu(['h2load', ...options, target]);
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(text)?.[1] ?? 0);
  const refused = count('3xx') + count('4xx') + count('5xx');
  return { requests: count('2xx'), errors: count('failed') + refused, refused, bytes: 0 };
}

/** Loads a UDP server with name queries from a file by `dnsperf`. */
export async function dnsperf(
  server: { readonly address: string; readonly port: number },
  load: { readonly queries: string; readonly clients: number; readonly seconds: number },
  within: readonly string[] = [],
): Promise<Load> {
  const { address, port } = server;
  const text = await onLoadCpu([
    ...within,
    ...['dnsperf', '-s', address, '-p', String(port), '-d', load.queries, '-T', '1'],
    ...['-c', String(load.clients), '-q', '100', '-l', String(load.seconds)],
  ]);
  const count = (what: string) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(text)?.[1] ?? 0);
  const requests = Number(/NOERROR (\d+)/.exec(text)?.[1] ?? 0);
  return { requests, errors: count('Queries lost'), refused: 0, bytes: 0 };
}

/** Loads with round trips by UDP, one outstanding a socket. */
export async function udpLoad(
  port: number,
  load: { readonly connections: number; readonly seconds: number },
): Promise<Load> {
  const script = new URL('udp-load.ts', import.meta.url).pathname;
  const numbers = [port, load.connections, load.seconds].map(String);
  const { answered, lost } = JSON.parse(
    await onLoadCpu([process.execPath, script, ...numbers]),
  ) as { answered: number; lost: number };
  return { requests: answered, errors: lost, refused: 0, bytes: 0 };
}
