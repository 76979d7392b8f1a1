import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { freePorts, Gateway, type StartOptions } from './gateway.ts';

const EXAMPLES = new URL('../../configs/examples/', import.meta.url).pathname;

/** One of `configs/examples` on ports that are free here. */
export class Example {
  readonly #text: string;
  readonly #ports: ReadonlyMap<string, number>;

  private constructor(text: string, ports: ReadonlyMap<string, number>) {
    this.#text = text;
    this.#ports = ports;
  }

  static async read(name: string): Promise<Example> {
    const text = readFileSync(`${EXAMPLES}${name}.yaml`, 'utf8');
    const named = [...new Set([...text.matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => port))];
    const free = await freePorts(named.length);
    return new Example(text, new Map(named.map((port, at) => [port ?? '', free[at] ?? 0])));
  }

  /** The port that stands for one of the example's. */
  port(written: number): number {
    const port = this.#ports.get(String(written));
    if (port === undefined) throw new Error(`the example has no port ${written}`);
    return port;
  }

  /** Starts a daemon on it, with one worker; its `admin` is the daemon's own. */
  async start(
    t: TestContext,
    edit = (text: string) => text,
    options: StartOptions = {},
  ): Promise<Gateway> {
    const lines = this.#text.split('\n').filter((line) => !/^admin:|^ {2}bind: .*9900/.test(line));
    const text = lines.join('\n').replaceAll(/(?<=127\.0\.0\.1:)\d+/g, (port) => {
      return String(this.#ports.get(port) ?? port);
    });
    const gateway = await Gateway.start(edit(text), options);
    t.after(() => gateway.stop());
    return gateway;
  }
}
