/** One proxy in one case. */
export type Candidate = { readonly name: 'sluice' | 'haproxy' | 'nginx' | 'http-proxy' | 'direct' };

/** What is measured: a mode of the proxies and the load on them. */
export type Scenario = {
  readonly name: string;
  /** `h2`: HTTP/2 without TLS from the client, HTTP/1.1 to the backend. */
  readonly mode: 'http' | 'h2' | 'tcp';
  readonly connections: number;
  readonly candidates: readonly Candidate[];
};

const named = (...names: Candidate['name'][]): Candidate[] => names.map((name) => ({ name }));

/** Every case. */
export const cases: readonly Scenario[] = [
  {
    name: 'http keep-alive 50',
    mode: 'http',
    connections: 50,
    candidates: named('sluice', 'haproxy', 'nginx', 'http-proxy', 'direct'),
  },
  {
    name: 'h2c 10 × 10 streams',
    mode: 'h2',
    connections: 10,
    candidates: named('sluice', 'haproxy', 'nginx'),
  },
  {
    name: 'tcp messages 50',
    mode: 'tcp',
    connections: 50,
    candidates: named('sluice', 'haproxy', 'nginx', 'direct'),
  },
];
