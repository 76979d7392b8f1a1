import type { Command } from 'commander';
import type { ServiceInfo, Status } from '../client/admin-types.ts';
import type { Context } from './context.ts';
import { endpointTable, stateOf } from './endpoint-rows.ts';
import { table } from './table.ts';

const EVERY_MS = 1000;
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const REST_OF_LINE = '\u001b[K';
const REST_OF_SCREEN = '\u001b[J';
const PER_SECOND = ['K', 'M', 'G', 'T'];

/** What `top` has read at one moment. */
export type Moment = {
  /** Monotonic ms. */
  readonly at: number;
  readonly status: Status;
  readonly services: readonly ServiceInfo[];
  /** Samples of /metrics by their series. */
  readonly samples: ReadonlyMap<string, number>;
};

/** The samples of a text in the Prometheus format. */
export function readSamples(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    const space = line.lastIndexOf(' ');
    if (line.startsWith('#') || space < 0) continue;
    samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}

function sum({ samples }: Moment, family: string, label: string): number {
  let total = 0;
  for (const [series, value] of samples) {
    if (series.startsWith(`${family}{`) && series.includes(label)) total += value;
  }
  return total;
}

function short(value: number): string {
  let [scaled, unit] = [value, ''];
  for (const next of PER_SECOND) {
    if (scaled < 1000) break;
    [scaled, unit] = [scaled / 1000, next];
  }
  return scaled < 10 && unit ? `${scaled.toFixed(1)}${unit}` : `${Math.round(scaled)}${unit}`;
}

/** The text of a moment; rates are since the moment before. */
export function drawTop(now: Moment, before: Moment | undefined): string {
  const seconds = before ? (now.at - before.at) / 1000 : 0;
  const rate = (family: string, label: string) =>
    before && seconds > 0
      ? short(Math.max(0, sum(now, family, label) - sum(before, family, label)) / seconds)
      : '-';
  const names = new Set(
    [...now.samples.keys()].flatMap(
      (series) => /^sluice_listener_connections_total\{listener="([^"]+)"/.exec(series)?.[1] ?? [],
    ),
  );
  const listeners = [...names].sort().map((name) => {
    const label = `listener="${name}"`;
    const families = ['requests', 'connections', 'bytes_received', 'bytes_sent'];
    const rates = families.map((what) => rate(`sluice_listener_${what}_total`, label));
    return [name, short(sum(now, 'sluice_listener_connections_active', label)), ...rates];
  });
  const services = now.services.map(({ name, endpoints }) => {
    const label = `service="${name}"`;
    const up = endpoints.filter((endpoint) => stateOf(endpoint) === 'up').length;
    return [
      name,
      `${up}/${endpoints.length}`,
      short(endpoints.reduce((active, endpoint) => active + endpoint.active, 0)),
      short(sum(now, 'sluice_service_queue_length', label)),
      rate('sluice_endpoint_requests_total', label),
      rate('sluice_service_responses_total', `${label},code="5xx"`),
      rate('sluice_service_retries_total', label),
    ];
  });
  const { status } = now;
  const lag = Math.round((now.samples.get('sluice_event_loop_lag_seconds') ?? 0) * 1000);
  return [
    `sluiced ${status.version}, ${status.ready ? 'ready' : 'not ready'}, ${status.workers.length} workers, configuration ${status.generation}, longest stall ${lag} ms`,
    '',
    table(['LISTENER', 'OPEN', 'REQ/S', 'CONN/S', 'IN B/S', 'OUT B/S'], listeners),
    '',
    table(['SERVICE', 'UP', 'ACTIVE', 'QUEUE', 'REQ/S', '5XX/S', 'RETRY/S'], services),
    '',
    endpointTable(now.services),
  ].join('\n');
}

/** `top`: a live view on a terminal, one look elsewhere. */
export function addTop(program: Command, { client, show, json, io }: Context): void {
  const look = async (): Promise<Moment> => {
    const [status, services, text] = await Promise.all([
      client().status(),
      client().services(),
      client().metrics(),
    ]);
    return { at: performance.now(), status, services, samples: readSamples(text) };
  };
  program
    .command('top')
    .description('listeners, services and endpoints live, until q; once when not on a terminal')
    .action(async () => {
      const first = await look();
      const { status, services } = first;
      if (io.screen.isTty && !json()) await live(first, look, io.screen);
      else show({ status, services }, drawTop(first, undefined));
    });
}

async function live(
  first: Moment,
  look: () => Promise<Moment>,
  screen: Context['io']['screen'],
): Promise<void> {
  let over = false;
  let wake: () => void = () => {};
  const offQuit = screen.onQuit(() => {
    over = true;
    wake();
  });
  const draw = (now: Moment, before: Moment | undefined) => {
    const { columns, rows } = screen.size();
    const lines = drawTop(now, before)
      .split('\n')
      .slice(0, rows - 1);
    const text = lines.map((line) => line.slice(0, columns) + REST_OF_LINE).join('\r\n');
    screen.write(HOME + text + REST_OF_SCREEN);
  };
  screen.write(ENTER);
  try {
    let before = first;
    draw(first, undefined);
    for (;;) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, EVERY_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (over) return;
      const now = await look();
      draw(now, before);
      before = now;
    }
  } finally {
    screen.write(LEAVE);
    offQuit();
  }
}
