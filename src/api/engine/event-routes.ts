import type { Engine } from '../../control/engine.ts';
import type { EngineEvent } from '../../control/event-log.ts';
import type { Call, Route } from './http.ts';
import { Filters } from './query.ts';

const FILTERS = [
  ...['config', 'container', 'daemon', 'event', 'image', 'label', 'network', 'node', 'plugin'],
  ...['scope', 'secret', 'service', 'type', 'volume'],
];
/** Kinds of objects that events are of, and that lists of them are narrowed to. */
const ACTORS = [
  ...['container', 'network', 'volume', 'daemon', 'service', 'node', 'secret', 'config'],
];
const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
const MAX_UNREAD = 4 * 1024 * 1024;
const MAX_TIMER_MS = 2_147_483_647;

/** One line; the nanoseconds do not fit a double, so their digits are written as they are. */
export function eventLine({ type, action, id, attributes, scope, timeNs }: EngineEvent): string {
  const own = type === 'container' ? { status: action, id, from: attributes['image'] ?? '' } : {};
  const json = JSON.stringify({
    ...own,
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    scope,
    time: Number(timeNs / NS_PER_SECOND),
  });
  return `${json.slice(0, -1)},"timeNano":${timeNs}}\n`;
}

function fits(event: EngineEvent, filters: Filters): boolean {
  const { type, action, id, attributes, scope } = event;
  const actor = (kind: string) =>
    filters.any(kind, (wanted) => {
      const other = kind === 'container' && attributes['container'] === wanted;
      return other || (type === kind && (attributes['name'] === wanted || id.startsWith(wanted)));
    });
  return (
    filters.any('type', (wanted) => type === wanted) &&
    filters.any('event', (wanted) => action === wanted || action.startsWith(`${wanted}:`)) &&
    filters.any('scope', (wanted) => wanted === scope) &&
    filters.labels(attributes) &&
    ACTORS.every(actor) &&
    filters.any('image', (wanted) => attributes['image']?.split(':')[0] === wanted.split(':')[0]) &&
    !filters.has('plugin')
  );
}

function stream({ events }: Engine, { query, response, lasts }: Call): undefined {
  const filters = Filters.parse(query.text('filters'), FILTERS);
  const [since, until] = [query.time('since'), query.time('until')];
  response.writeHead(200, { 'content-type': 'application/json' });
  response.flushHeaders();
  const send = (event: EngineEvent) => {
    const late = until !== undefined && event.timeNs > until;
    if (late || !fits(event, filters)) return;
    response.write(eventLine(event));
    if (response.writableLength > MAX_UNREAD) response.destroy();
  };
  if (since !== undefined) {
    for (const event of events.recent) if (event.timeNs >= since) send(event);
  }
  const leftMs = until === undefined ? undefined : Number(until / NS_PER_MS) - Date.now();
  if (leftMs !== undefined && leftMs <= 0) {
    response.end();
    return undefined;
  }
  lasts(() => response.end());
  const unsubscribe = events.subscribe(send);
  const timer =
    leftMs === undefined
      ? undefined
      : setTimeout(() => response.end(), Math.min(leftMs, MAX_TIMER_MS));
  response.on('close', () => {
    unsubscribe();
    clearTimeout(timer);
  });
  return undefined;
}

/** What happens, as it happens, after what has happened lately. */
export function eventRoutes(engine: Engine): Route[] {
  return [{ method: 'GET', path: '/events', run: (call) => stream(engine, call) }];
}
