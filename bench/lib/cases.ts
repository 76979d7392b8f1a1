/** What one proxy is called in the results. `haproxy-splice` moves bytes within the kernel. */
export type Candidate =
  | 'sluice'
  | 'sluice-pipelined'
  | 'sluice-2-workers'
  | 'haproxy'
  | 'haproxy-splice'
  | 'nginx'
  | 'undici'
  | 'http-proxy'
  | 'direct';

/** What is measured: CPU and KiB a unit, units a second, latency. Less is better but for the rate. */
export type Figure = 'cpuMicros' | 'perSecond' | 'p99Micros' | 'kib';

/**
 * What Sluice must reach, or aims at. CPU and the rate: how many times better than the peer it is, at
 * least. Latency: its multiple of the peer's, at most. Memory: KiB, at most, whatever peers need.
 */
export type Goal = {
  /** The scenario's where it is not set. */
  readonly figure?: Figure;
  /** Which Sluice; the plain one where it is not set. */
  readonly own?: Candidate;
  /** `best` is the better one of haproxy and nginx. */
  readonly of: 'best' | 'none' | Candidate;
  readonly must?: number;
  readonly aim?: number;
};

/** What is measured: a mode of the proxies and the load on them. */
export type Scenario = {
  readonly name: string;
  /**
   * `h2`: HTTP/2 without TLS from the client, HTTP/1.1 to the backend; `https`: TLS ends at the proxy;
   * `sni`: TLS passes through, routed by its server name.
   */
  readonly mode: 'http' | 'h2' | 'https' | 'tcp' | 'sni' | 'udp';
  /**
   * As fast as answers come where it is not set. `resumed`: with a resumed TLS session for each request.
   * `paced`: at 70 % of the rate that haproxy reaches. `idle`: connections that stay open.
   */
  readonly load?: 'resumed' | 'paced' | 'idle';
  /**
   * `own`, where it is not set: the proxy has CPU 0 and all else CPU 1. `scaled`: as many CPUs as workers;
   * all else has two other CPUs, or the proxy's where there are none.
   */
  readonly cpus?: 'own' | 'scaled';
  readonly connections: number;
  readonly candidates: readonly Candidate[];
  readonly goals: readonly Goal[];
  /** What is drawn, and what goals are about; CPU where it is not set. */
  readonly figure?: Figure;
  /** What the backend answers: 13 bytes at `/`, else as many as the name says. */
  readonly path?: '/64k' | '/10m';
  /** Fields of every request. */
  readonly headers?: readonly string[];
  /** What CPU and rate are counted by; a request (or message) where it is not set. */
  readonly unit?: 'GB' | 'connection';
};

const PEERS = ['sluice', 'haproxy', 'nginx'] as const;
const PIPELINED = [...PEERS, 'sluice-pipelined'] as const;
const CLOSE = ['Connection: close'];

function best(must: number, aim: number): Goal[] {
  return [{ of: 'best', must, aim }];
}

function pipelined(of: Goal['of'], must: number, aim: number): Goal {
  return { own: 'sluice-pipelined', of, must, aim };
}

/** As many fields, and as long ones, as browsers send. */
const BROWSER = [
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Cache-Control: max-age=0',
  'Sec-Fetch-Dest: document',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Site: same-origin',
  'Upgrade-Insecure-Requests: 1',
  'Referer: https://www.example.com/catalogue/items?page=3&order=price',
  `Cookie: session=${'a1b2c3d4'.repeat(8)}; theme=dark; consent=${'0123456789'.repeat(6)}`,
];

/** Every case. */
export const cases: readonly Scenario[] = [
  {
    name: 'http keep-alive 50',
    mode: 'http',
    connections: 50,
    candidates: [...PIPELINED, 'undici', 'http-proxy', 'direct'],
    goals: [
      ...best(0.9, 1.1),
      pipelined('best', 1.3, 1.6),
      { of: 'undici', must: 2.2, aim: 3 },
      { of: 'http-proxy', must: 6, aim: 8 },
    ],
  },
  {
    name: 'http keep-alive 500',
    mode: 'http',
    connections: 500,
    candidates: PIPELINED,
    goals: [
      ...best(0.9, 1.1),
      pipelined('best', 2, 2.3),
      { figure: 'p99Micros', of: 'haproxy', must: 1 },
    ],
  },
  {
    name: 'http one connection',
    mode: 'http',
    connections: 1,
    candidates: PEERS,
    goals: [...best(0.9, 1), { figure: 'perSecond', of: 'best', must: 0.9, aim: 1 }],
  },
  {
    name: 'http browser headers',
    mode: 'http',
    connections: 50,
    candidates: PEERS,
    goals: best(0.9, 1),
    headers: BROWSER,
  },
  {
    name: 'http connection a request',
    mode: 'http',
    connections: 50,
    candidates: PEERS,
    goals: best(0.6, 0.8),
    headers: CLOSE,
  },
  ...(['/64k', '/10m'] as const).map((path) => ({
    name: `http ${path.slice(1)} bodies`,
    mode: 'http' as const,
    connections: path === '/64k' ? 50 : 4,
    candidates: PEERS,
    goals: [
      { of: 'nginx', must: 0.85, aim: 1 },
      { of: 'haproxy', must: 1.3 },
    ] as const,
    path,
    unit: 'GB' as const,
  })),
  {
    name: 'http latency at 70 %',
    mode: 'http',
    load: 'paced',
    connections: 50,
    candidates: [...PEERS, 'direct'],
    goals: [{ of: 'haproxy', must: 1.3, aim: 1 }],
    figure: 'p99Micros',
  },
  {
    name: 'http two workers',
    mode: 'http',
    cpus: 'scaled',
    connections: 100,
    candidates: ['sluice', 'sluice-2-workers'],
    goals: [{ own: 'sluice-2-workers', of: 'sluice', must: 1.6, aim: 1.8 }],
    figure: 'perSecond',
  },
  { name: 'h2c 10 × 10 streams', mode: 'h2', connections: 10, candidates: PEERS, goals: [] },
  {
    name: 'tcp messages 50',
    mode: 'tcp',
    connections: 50,
    candidates: [...PEERS, 'direct'],
    goals: best(0.85, 0.95),
  },
  {
    name: 'tcp connections',
    mode: 'tcp',
    connections: 50,
    candidates: PEERS,
    goals: best(0.6, 0.8),
    headers: CLOSE,
  },
  {
    name: 'tcp bulk',
    mode: 'tcp',
    connections: 4,
    candidates: [...PEERS, 'haproxy-splice'],
    goals: [
      { of: 'nginx', must: 1.1 },
      { of: 'haproxy-splice', aim: 0.9 },
    ],
    path: '/10m',
    unit: 'GB',
  },
  {
    name: 'sni keep-alive',
    mode: 'sni',
    connections: 50,
    candidates: PEERS,
    goals: best(0.8, 0.9),
  },
  {
    name: 'sni connections',
    mode: 'sni',
    connections: 50,
    candidates: PEERS,
    goals: best(0.65, 0.8),
    headers: CLOSE,
  },
  {
    name: 'https keep-alive',
    mode: 'https',
    connections: 50,
    candidates: PIPELINED,
    goals: [{ of: 'haproxy', must: 0.8, aim: 0.95 }, pipelined('haproxy', 1.1, 1.3)],
  },
  {
    name: 'https full handshakes',
    mode: 'https',
    connections: 50,
    candidates: PEERS,
    goals: [{ of: 'haproxy', must: 0.75, aim: 0.9 }],
    headers: CLOSE,
  },
  {
    name: 'https resumed handshakes',
    mode: 'https',
    load: 'resumed',
    connections: 50,
    candidates: PEERS,
    goals: [{ of: 'haproxy', must: 0.7, aim: 0.85 }],
  },
  {
    name: 'udp round trips',
    mode: 'udp',
    connections: 50,
    candidates: ['sluice', 'nginx', 'direct'],
    goals: [{ of: 'nginx', must: 0.65, aim: 0.85 }],
  },
  ...(['http', 'https'] as const).map((mode) => ({
    name: `${mode} idle connections`,
    mode,
    load: 'idle' as const,
    connections: 5000,
    candidates: PEERS,
    goals: [
      mode === 'http'
        ? { of: 'none' as const, must: 3, aim: 1.5 }
        : { of: 'none' as const, must: 45, aim: 30 },
    ],
    figure: 'kib' as const,
    unit: 'connection' as const,
  })),
];
