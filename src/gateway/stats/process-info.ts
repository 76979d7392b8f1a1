import type { SeriesSample } from '../../base/metrics.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import { Figures } from './figures.ts';
import type { StatHistory } from './stat-history.ts';

const MIB = 1024 * 1024;

/** What is told of the whole daemon. */
export type InfoSource = {
  readonly samples: readonly SeriesSample[];
  readonly config: GatewayConfig;
  readonly history: StatHistory;
  readonly version: string;
  readonly pid: number;
  readonly workers: number;
  readonly draining: boolean;
  /** Unix ms. */
  readonly startedAtMs: number;
  readonly uptimeMs: number;
  readonly node: string;
};

function uptimeText(seconds: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const [hours, minutes] = [(seconds % 86_400) / 3600, (seconds % 3600) / 60];
  return `${Math.floor(seconds / 86_400)}d ${Math.floor(hours)}h${two(minutes)}m${two(seconds % 60)}s`;
}

/** Connections open now of listeners that speak TLS. */
function encrypted({ listeners }: GatewayConfig, all: Figures): number {
  return Object.entries(listeners).reduce(
    (sum, [name, { protocol }]) =>
      protocol === 'https' || protocol === 'tls'
        ? sum + all.sum('listener_connections_active', name)
        : sum,
    0,
  );
}

/**
 * The daemon under HAProxy's names and in its order; what it has no like of is absent.
 * Source: HAProxy management guide, `show info`.
 */
export function processInfo(source: InfoSource): Readonly<Record<string, string | number>> {
  const { history, config, version } = source;
  const all = new Figures(source.samples);
  const limits = Object.values(config.listeners).map((one) => one.limits.maxConnections);
  const connections = history.rate('listener_connections_total');
  const handshakes = history.rate('tls_handshakes_total');
  const uptime = Math.floor(source.uptimeMs / 1000);
  const maxconn = limits.reduce((sum, limit) => sum + limit, 0);
  const resumed = all
    .of('tls_handshakes_total')
    .reduce((sum, { labels, value = 0 }) => sum + (labels[2] === 'yes' ? value : 0), 0);
  const ssl = all.sum('tls_handshakes_total');
  const current = all.sum('listener_connections_active');
  const busy = all.sum('event_loop_busy_ratio') / Math.max(1, source.workers);
  const reserved = all.sum('worker_heap_bytes', 'reserved');
  const used = all.sum('worker_heap_bytes', 'used');
  const memory = config.memory ?? 0;
  const files = all.sum('worker_max_fds');
  return {
    ...{ Name: 'Sluice', Version: version, Nbthread: source.workers, Nbproc: 1, Process_num: 1 },
    ...{ Pid: source.pid, Uptime: uptimeText(uptime), Uptime_sec: uptime },
    ...{ Memmax_MB: Math.floor(memory / MIB), PoolAlloc_MB: Math.floor(reserved / MIB) },
    ...{ PoolUsed_MB: Math.floor(used / MIB), 'Ulimit-n': files, Maxsock: files },
    ...{ Maxconn: maxconn, Hard_maxconn: maxconn, CurrConns: current },
    CumConns: all.sum('listener_connections_total'),
    CumReq: all.sum('listener_requests_total'),
    ...{ MaxSslConns: 0, CurrSslConns: encrypted(config, all), CumSslConns: ssl },
    ...{ Maxpipes: 0, PipesUsed: 0, PipesFree: 0 },
    ...{ ConnRate: connections.now, ConnRateLimit: 0, MaxConnRate: connections.most },
    ...{ SessRate: connections.now, SessRateLimit: 0, MaxSessRate: connections.most },
    ...{ SslRate: handshakes.now, SslRateLimit: 0, MaxSslRate: handshakes.most },
    SslFrontendSessionReuse_pct: ssl === 0 ? 0 : Math.round((resumed * 100) / ssl),
    ...{ SslCacheLookups: 0, SslCacheMisses: 0 },
    ...{ CompressBpsIn: 0, CompressBpsOut: 0, CompressBpsRateLim: 0 },
    Idle_pct: Math.min(100, Math.max(0, Math.round(100 - busy * 100))),
    ...{ node: source.node, Stopping: source.draining ? 1 : 0, Jobs: current },
    'Unstoppable Jobs': 0,
    Listeners: Object.values(config.listeners).reduce((sum, { bind }) => sum + bind.length, 0),
    ...{ ActivePeers: 0, ConnectedPeers: 0 },
    DroppedLogs: all.sum('access_log_dropped_total'),
    BusyPolling: 0,
    TotalBytesOut: all.sum('listener_bytes_sent_total'),
    // HAProxy spells it so.
    TotalSplicdedBytesOut: 0,
    BytesOutRate: history.rate('listener_bytes_sent_total').now,
    ...{ CumRecvLogs: 0, 'Build info': version },
    ...{ Memmax_bytes: memory, PoolAlloc_bytes: reserved, PoolUsed_bytes: used },
    Start_time_sec: Math.floor(source.startedAtMs / 1000),
  };
}
