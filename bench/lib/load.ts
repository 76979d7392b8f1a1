import { execFile } from 'node:child_process';

/** What a load generator counted; `refused` are those errors that were answers. */
export type Load = {
  requests: number;
  errors: number;
  refused: number;
  bytes: number;
  /** The 99th percentile of latencies, where it is known. */
  p99Micros?: number;
};

/** How much load, and where it comes from: the CPUs (`1`) and, for each of them, a thread. */
type Amount = {
  readonly connections: number;
  readonly seconds: number;
  readonly cpus?: string;
};

const UNITS: Readonly<Record<string, number>> = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };
const MICROS: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1e6, m: 60e6 };

/** Runs a command on the CPUs of the load; its output. */
function onLoadCpus(command: readonly string[], cpus = '1'): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('taskset', ['-c', cpus, ...command], (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
  });
}

/** Loads with `wrk`; `within` is a command before it, such as one that enters a namespace. */
export async function wrk(
  target: string,
  load: Amount & { readonly headers?: readonly string[] },
  within: readonly string[] = [],
): Promise<Load> {
  const headers = (load.headers ?? []).flatMap((header) => ['-H', header]);
  const threads = (load.cpus ?? '').split(',').length;
  const amount = [`-t${threads}`, `-c${load.connections}`, `-d${load.seconds}s`, '--latency'];
  const command = [...within, 'wrk', ...amount, ...headers, target];
  const text = await onLoadCpus(command, load.cpus);
  const [, count = '0', size = '0', unit = 'B'] =
    /(\d+) requests in [^,]+, ([\d.]+)([KMGT]?B) read/.exec(text) ?? [];
  const socket = [...(/Socket errors:.*/.exec(text)?.[0].matchAll(/\d+/g) ?? [])];
  const errors = socket.reduce((sum, [number]) => sum + Number(number), 0);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  const [, p99 = '0', scale = 'us'] = /99% +([\d.]+)(us|ms|s|m)/.exec(text) ?? [];
  return {
    requests: Number(count),
    errors: errors + refused,
    refused,
    bytes: Number(size) * (UNITS[unit] ?? 1),
    p99Micros: Number(p99) * (MICROS[scale] ?? 1),
  };
}

/** Loads with `h2load`, ten streams a connection. */
export async function h2load(target: string, load: Amount): Promise<Load> {
  const options = ['-t1', `-c${load.connections}`, '-m10', '-D', String(load.seconds)];
  const text = await onLoadCpus(['h2load', ...options, target]);
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
  const text = await onLoadCpus([
    ...within,
    ...['dnsperf', '-s', address, '-p', String(port), '-d', load.queries, '-T', '1'],
    ...['-c', String(load.clients), '-q', '100', '-l', String(load.seconds)],
  ]);
  const count = (what: string) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(text)?.[1] ?? 0);
  const requests = Number(/NOERROR (\d+)/.exec(text)?.[1] ?? 0);
  return { requests, errors: count('Queries lost'), refused: 0, bytes: 0 };
}

/** Runs a generator of this folder; what it prints. */
async function generator<T>(script: string, ...numbers: readonly number[]): Promise<T> {
  const path = new URL(script, import.meta.url).pathname;
  const text = await onLoadCpus([process.execPath, path, ...numbers.map(String)]);
  return JSON.parse(text) as T;
}

/** Loads with round trips by UDP, one outstanding a socket. */
export async function udpLoad(port: number, { connections, seconds }: Amount): Promise<Load> {
  const { answered, lost } = await generator<{ answered: number; lost: number }>(
    'udp-load.ts',
    ...[port, connections, seconds],
  );
  return { requests: answered, errors: lost, refused: 0, bytes: 0 };
}

/** Loads with a new connection for each request that resumes a TLS session. */
export async function resumedLoad(port: number, { connections, seconds }: Amount): Promise<Load> {
  const { answered, failed } = await generator<{ answered: number; failed: number }>(
    'resumed-load.ts',
    ...[port, connections, seconds],
  );
  return { requests: answered, errors: failed, refused: 0, bytes: 0 };
}

/** Loads with as many requests a second as `rate` says, however slowly they are answered. */
export async function pacedLoad(
  port: number,
  { connections, seconds, rate }: Amount & { readonly rate: number },
): Promise<Load> {
  const { answered, failed, p99Micros } = await generator<{
    answered: number;
    failed: number;
    p99Micros: number;
  }>('paced-load.ts', ...[port, connections, seconds, rate]);
  return { requests: answered, errors: failed, refused: 0, bytes: 0, p99Micros };
}
