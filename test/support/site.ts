import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Backend } from './backend.ts';
import { freePorts, Gateway } from './gateway.ts';
import { processTree } from './processes.ts';

/** A daemon with one HTTP listener before backends that are processes of their own. */
export type Site = {
  port: number;
  gateway: Gateway;
  backends: readonly Backend[];
  /** The daemon's processes as they are now: the supervisor first. */
  pids(): number[];
  /** File of the numbered POSTs that reached a backend. */
  journal: string;
};

/** What a site has beyond the defaults; `listener` and `service` are further YAML flow entries. */
export type SiteOptions = {
  backends?: number;
  workers?: number;
  /** Default: http. */
  protocol?: 'http' | 'https';
  listener?: string;
  service?: string;
  /** More YAML at the top level. */
  more?: string;
  prepare?: (directory: string) => unknown;
  /** The daemon's environment beyond the test's; `{DIR}` stands for its directory. */
  env?: Readonly<Record<string, string>>;
};

const NAMES = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];

/** Starts backends and a daemon, without any tuning unless told; all ends with the test. */
export async function startSite(t: TestContext, options: SiteOptions = {}): Promise<Site> {
  const { backends: count = 2, workers = 2, protocol = 'http' } = options;
  const { listener = '', service = '', more = '' } = options;
  const [port = 0, ...ports] = await freePorts(count + 1);
  const started: Backend[] = [];
  let gateway: Gateway | undefined;
  t.after(async () => {
    await gateway?.stop();
    await Promise.all(started.map((backend) => backend.kill()));
  });
  const endpoints = ports.map((one) => `"127.0.0.1:${one}"`).join(', ');
  gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: ${protocol}, service: app${listener} }
services:
  app: { endpoints: [${endpoints}]${service} }
${more}`,
    {
      workers,
      ...(options.env ? { env: options.env } : {}),
      prepare: async (directory) => {
        await options.prepare?.(directory);
        for (const [at, one] of ports.entries()) {
          started.push(new Backend(one, NAMES[at] ?? `b${at}`, join(directory, 'journal')));
        }
        await Promise.all(started.map((backend) => backend.start()));
      },
    },
  );
  const running = gateway;
  return {
    port,
    gateway: running,
    backends: started,
    pids: () => processTree(running.process.pid ?? 0),
    journal: join(running.directory, 'journal'),
  };
}
