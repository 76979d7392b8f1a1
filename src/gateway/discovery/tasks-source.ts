import { get, type IncomingMessage } from 'node:http';
import { errorText } from '../../base/errors.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Discover } from '../../model/service.ts';
import { endpointSpec, type Source } from './source.ts';

/** Events come in bursts: one look after the burst is enough. */
const SETTLE_MS = 20;
/** A look without any event, should one be lost. */
const LOOK_EVERY_MS = 60_000;
const ANSWER_TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_EVENT_BYTES = 64 * 1024;
/** What changes who serves where; all else that happens to tasks does not. */
const CHANGES =
  /^(start|die|stop|destroy|rename|pause|unpause|restart|update|connect|disconnect|health_status)/;

type TasksQuery = Extract<Discover, { tasks: unknown }>['tasks'];

/** A container as the engine lists it. Source: Docker Engine API, ContainerList. */
type Row = {
  readonly Names: readonly string[];
  readonly Status: string;
  readonly Ports: readonly { PrivatePort: number }[];
  readonly NetworkSettings: {
    readonly Networks: Readonly<Record<string, { IPAddress: string; GlobalIPv6Address?: string }>>;
  };
};

function open(socketPath: string, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = get({ socketPath, path, headers: { host: 'engine' } }, (response) => {
      request.setTimeout(0);
      if (response.statusCode === 200) {
        resolve(response);
        return;
      }
      response.destroy();
      reject(new Error(`the engine at ${socketPath} answered ${response.statusCode}`));
    });
    request.setTimeout(ANSWER_TIMEOUT_MS, () => {
      request.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS} ms`));
    });
    request.on('error', (error) => {
      reject(new Error(`the engine at ${socketPath} does not answer: ${errorText(error)}`));
    });
  });
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_ANSWER_BYTES) throw new Error('the engine lists more than 32 MiB');
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString());
}

const encode = (filters: Record<string, readonly string[]>) =>
  encodeURIComponent(JSON.stringify(filters));

function nameFits(wanted: string, name: string): boolean {
  return wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted;
}

function portOf(row: Row, query: TasksQuery): number {
  if (query.port !== undefined) return query.port;
  const [first, ...more] = new Set(row.Ports.map(({ PrivatePort }) => PrivatePort));
  if (first !== undefined && more.length === 0) return first;
  const many = first === undefined ? 'no port' : 'several ports';
  throw new Error(`task ${row.Names[0]} exposes ${many}: \`port\` has to say which one serves`);
}

function addressOf({ NetworkSettings: { Networks } }: Row, { network }: TasksQuery) {
  const names = network === undefined ? Object.keys(Networks).sort() : [network];
  for (const name of names) {
    const address = Networks[name]?.IPAddress || Networks[name]?.GlobalIPv6Address;
    if (address) return address;
  }
  return undefined;
}

/** The endpoints of the running tasks that a query names, without those that are not healthy. */
export function taskSpecs(rows: readonly Row[], query: TasksQuery) {
  const wanted = rows.filter(({ Names, Status }) => {
    const name = Names[0]?.replace(/^\//, '') ?? '';
    if (query.name !== undefined && !nameFits(query.name, name)) return false;
    return !/\((unhealthy|health: starting)\)/.test(Status);
  });
  return wanted
    .flatMap((row) => {
      const address = addressOf(row, query);
      return address === undefined ? [] : [endpointSpec(address, portOf(row, query))];
    })
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** The events of an engine, as a wish to look again. */
class EventStream {
  readonly #response: IncomingMessage;
  #changed = true;
  #ended: Error | undefined;
  #wake: () => void = () => {};
  #rest = '';

  constructor(response: IncomingMessage) {
    this.#response = response;
    const end = (why: string) => {
      this.#ended ??= new Error(`the engine's events have ended${why}`);
      this.#wake();
    };
    response.setEncoding('utf8');
    response.on('data', (text: string) => this.#take(text));
    response.on('error', (error) => end(`: ${errorText(error)}`));
    response.on('close', () => end(''));
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > MAX_EVENT_BYTES) this.#response.destroy();
    for (const line of lines) {
      const action = /"Action":"([^"]*)"/.exec(line)?.[1] ?? '';
      if (CHANGES.test(action)) this.#changed = true;
    }
    if (this.#changed) this.#wake();
  }

  /** Resolves when it is time to look, at once when `again`. Rejects when the stream has ended. */
  async wait(again: boolean): Promise<void> {
    if (!again && !this.#changed && !this.#ended) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, LOOK_EVERY_MS);
      });
      clearTimeout(timer);
    }
    if (this.#ended) throw this.#ended;
    this.#changed = false;
  }

  close(): void {
    this.#response.destroy();
  }
}

/** Endpoints from the tasks of an engine, by its API and its events. */
export function tasksSource(
  query: TasksQuery,
  { socket }: GatewayConfig['discovery']['engine'],
): Source {
  const label = query.label === undefined ? {} : { label: [query.label] };
  const list = `/containers/json?filters=${encode({ status: ['running'], ...label })}`;
  const follow = `/events?filters=${encode({ type: ['container', 'network'] })}`;
  let events: EventStream | undefined;
  let closed = false;
  const read = async (again: boolean) => {
    events ??= new EventStream(await open(socket, follow));
    if (closed) events.close();
    await events.wait(again);
    // exempt(as): the engine answers what its API says; a row that differs fails below
    const rows = (await readJson(await open(socket, list))) as Row[];
    return { specs: taskSpecs(rows, query), nextMs: SETTLE_MS };
  };
  return {
    tellsChanges: true,
    local: true,
    exact: true,
    read: (again) =>
      read(again).catch((error: unknown) => {
        events?.close();
        events = undefined;
        throw error;
      }),
    close: () => {
      closed = true;
      events?.close();
    },
  };
}
