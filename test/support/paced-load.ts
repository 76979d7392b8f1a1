import { Agent, request } from 'node:http';

/** One request as its client saw it. */
export type Shot = {
  startedMs: number;
  tookMs: number;
  status: number;
  backend: string | undefined;
};

const CLIENT_TIMEOUT_MS = 20_000;

function shoot(agent: Agent, port: number, path: string, startedMs: number): Promise<Shot> {
  return new Promise((resolve) => {
    const from = performance.now();
    const done = (status: number, backend?: string) =>
      resolve({ startedMs, tookMs: performance.now() - from, status, backend });
    const asked = request(
      { agent, host: '127.0.0.1', port, path, timeout: CLIENT_TIMEOUT_MS },
      (response) => {
        response.on('data', () => {});
        response.on('end', () =>
          done(response.statusCode ?? 0, response.headers['x-backend'] as string | undefined),
        );
        response.on('error', () => done(0));
      },
    );
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => done(0));
    asked.end();
  });
}

/**
 * Sends GETs at a steady rate, whether or not earlier ones were answered, for a bounded time.
 * A status of 0 is a request that failed or took longer than 20 s.
 */
export async function pacedLoad(
  port: number,
  options: {
    perSecond: number;
    seconds: number;
    path?: string;
    newConnections?: boolean;
    /** Ends it early. */
    until?: () => boolean;
  },
): Promise<Shot[]> {
  const agent = new Agent({ keepAlive: options.newConnections !== true, maxSockets: 256 });
  const shots: Promise<Shot>[] = [];
  const total = options.perSecond * options.seconds;
  const start = performance.now();
  while (shots.length < total && !options.until?.()) {
    const due = Math.min(total, ((performance.now() - start) / 1000) * options.perSecond);
    while (shots.length < due) {
      shots.push(shoot(agent, port, options.path ?? '/', performance.now() - start));
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const results = await Promise.all(shots);
  agent.destroy();
  return results;
}

/** How many of the shots did not get a 2xx. */
export function failures(shots: readonly Shot[]): Shot[] {
  return shots.filter(({ status }) => status < 200 || status > 299);
}
