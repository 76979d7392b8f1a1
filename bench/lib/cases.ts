/** One proxy in one case. */
export type Candidate = { readonly name: 'sluice' | 'haproxy' | 'nginx' | 'http-proxy' | 'direct' };

/** A ratio to reach: the CPU of a peer, or of the best of haproxy and nginx, divided by ours. */
export type Goal = {
  readonly of: 'best' | 'haproxy' | 'nginx' | 'http-proxy';
  readonly ratio: number;
};

/** What is measured: a mode of the proxies and the load on them. */
export type Scenario = {
  readonly name: string;
  /**
   * `h2`: HTTP/2 without TLS from the client, HTTP/1.1 to the backend; `https`: TLS ends at the proxy;
   * `sni`: TLS passes through, routed by its server name.
   */
  readonly mode: 'http' | 'h2' | 'https' | 'tcp' | 'sni' | 'udp';
  readonly connections: number;
  readonly candidates: readonly Candidate[];
  readonly goals: readonly Goal[];
  /** What the backend answers: 13 bytes at `/`, else as many as the name says. */
  readonly path?: '/64k' | '/10m';
  /** Fields of every request. */
  readonly headers?: readonly string[];
  /** What CPU and rate are counted by; a request (or message) where it is not set. */
  readonly unit?: 'GB';
};

const PEERS = named('sluice', 'haproxy', 'nginx');
const CLOSE = ['Connection: close'];

function named(...names: Candidate['name'][]): Candidate[] {
  return names.map((name) => ({ name }));
}

function best(ratio: number): Goal[] {
  return [{ of: 'best', ratio }];
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
    candidates: named('sluice', 'haproxy', 'nginx', 'http-proxy', 'direct'),
    goals: [...best(0.9), { of: 'http-proxy', ratio: 6 }],
  },
  {
    name: 'http keep-alive 500',
    mode: 'http',
    connections: 500,
    candidates: PEERS,
    goals: best(0.9),
  },
  {
    name: 'http one connection',
    mode: 'http',
    connections: 1,
    candidates: PEERS,
    goals: best(0.9),
  },
  {
    name: 'http browser headers',
    mode: 'http',
    connections: 50,
    candidates: PEERS,
    goals: best(0.9),
    headers: BROWSER,
  },
  {
    name: 'http connection a request',
    mode: 'http',
    connections: 50,
    candidates: PEERS,
    goals: best(0.6),
    headers: CLOSE,
  },
  ...(['/64k', '/10m'] as const).map((path) => ({
    name: `http ${path.slice(1)} bodies`,
    mode: 'http' as const,
    connections: path === '/64k' ? 50 : 4,
    candidates: PEERS,
    goals: [
      { of: 'nginx', ratio: 0.85 },
      { of: 'haproxy', ratio: 1.3 },
    ] as const,
    path,
    unit: 'GB' as const,
  })),
  { name: 'h2c 10 × 10 streams', mode: 'h2', connections: 10, candidates: PEERS, goals: [] },
  {
    name: 'tcp messages 50',
    mode: 'tcp',
    connections: 50,
    candidates: named('sluice', 'haproxy', 'nginx', 'direct'),
    goals: best(0.85),
  },
  {
    name: 'tcp connections',
    mode: 'tcp',
    connections: 50,
    candidates: PEERS,
    goals: best(0.6),
    headers: CLOSE,
  },
  {
    name: 'tcp bulk',
    mode: 'tcp',
    connections: 4,
    candidates: PEERS,
    goals: [{ of: 'nginx', ratio: 1.1 }],
    path: '/10m',
    unit: 'GB',
  },
  { name: 'sni keep-alive', mode: 'sni', connections: 50, candidates: PEERS, goals: best(0.8) },
  {
    name: 'sni connections',
    mode: 'sni',
    connections: 50,
    candidates: PEERS,
    goals: best(0.65),
    headers: CLOSE,
  },
  {
    name: 'https keep-alive',
    mode: 'https',
    connections: 50,
    candidates: PEERS,
    goals: [{ of: 'haproxy', ratio: 0.8 }],
  },
  {
    name: 'https full handshakes',
    mode: 'https',
    connections: 50,
    candidates: PEERS,
    goals: [{ of: 'haproxy', ratio: 0.75 }],
    headers: CLOSE,
  },
  {
    name: 'udp round trips',
    mode: 'udp',
    connections: 50,
    candidates: named('sluice', 'nginx', 'direct'),
    goals: [{ of: 'nginx', ratio: 0.65 }],
  },
];
