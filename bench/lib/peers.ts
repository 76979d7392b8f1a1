import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Candidate, Scenario } from './cases.ts';
import { haproxyConfig, nginxConfig, type Place, sluiceConfig, workersOf } from './configs.ts';
import { folder, listens, type Running, start } from './processes.ts';
import { programOf } from './programs.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const FIRST_PORT = 18_100;
const PORTS_EACH = 10;
const UDP_ANSWER_MS = 100;

/** A candidate that runs with a backend, or two, of its own. */
export type Contender = {
  readonly candidate: Candidate;
  /** Where it is loaded, and on which CPUs the load runs. */
  readonly port: number;
  readonly loadCpus: string;
  /** The root of the proxy's processes; undefined for the direct connection. */
  readonly pid: number | undefined;
};

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Certificate and key of TLS 1.3 with ECDSA, made when first asked for. */
function certificate(): string[] {
  const files = [join(folder, 'cert.pem'), join(folder, 'key.pem')] as const;
  if (!existsSync(files[0])) {
    const made =
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost';
    const named = ['-addext', 'subjectAltName=DNS:localhost'];
    const out = ['-out', files[0], '-keyout', files[1]];
    execFileSync('openssl', [...made.split(' '), ...named, ...out], { stdio: 'ignore' });
    file('both.pem', files.map((one) => readFileSync(one, 'utf8')).join(''));
  }
  return [...files];
}

/** On which CPUs a candidate and its load run. */
function cpusOf(candidate: Candidate, scenario: Scenario): { proxy: string; load: string } {
  if (scenario.cpus !== 'scaled') return { proxy: '0', load: '1' };
  const own = workersOf(candidate) === 2 ? '0,1' : '0';
  return { proxy: own, load: cpus().length >= 4 ? '2,3' : own };
}

/** Whether a datagram comes back. */
function echoes(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket('udp4');
    const done = (answered: boolean) => {
      clearTimeout(limit);
      socket.close();
      resolve(answered);
    };
    const limit = setTimeout(done, UDP_ANSWER_MS, false);
    socket.once('message', () => done(true));
    socket.once('error', () => done(false));
    socket.send('ready?', port, '127.0.0.1');
  });
}

/** How a proxy is started; undefined for the direct connection. */
function commandOf(candidate: Candidate, { mode }: Scenario, place: Place): string[] | undefined {
  const script = (path: string, ...args: (string | number)[]) => [
    ...[process.execPath, join(ROOT, path)],
    ...args.map(String),
  ];
  switch (candidate) {
    case 'direct':
      return undefined;
    case 'sluice':
    case 'sluice-pipelined':
    case 'sluice-2-workers': {
      const config = file(`${candidate}.yaml`, sluiceConfig(candidate, mode, place));
      return script('src/main/sluiced.ts', '--config', config);
    }
    case 'haproxy':
    case 'haproxy-splice': {
      const config = file(`${candidate}.cfg`, haproxyConfig(candidate, mode, place));
      return [programOf('haproxy'), '-f', config];
    }
    case 'nginx':
      return [programOf('nginx'), '-c', file('nginx.conf', nginxConfig(mode, place))];
    case 'undici':
    case 'http-proxy':
      return script(`bench/lib/${candidate}.ts`, place.port, place.backends[0] ?? 0);
  }
}

/** Whether a proxy serves: Sluice says so when its workers do. */
function isReady(candidate: Candidate, { mode }: Scenario, port: number): Promise<boolean> {
  if (mode === 'udp') return echoes(port);
  if (!candidate.startsWith('sluice')) return listens(port);
  const ask = fetch(`http://127.0.0.1:${port + 1}/readyz`);
  return ask.then(
    ({ ok }) => ok,
    () => false,
  );
}

/**
 * Starts a candidate behind which backends run: raw sockets, fixed answers, keep-alive. All are stopped with
 * `stage`. `slot` counts from 0 and tells ports apart.
 */
export async function startContender(
  stage: AsyncDisposableStack,
  scenario: Scenario,
  candidate: Candidate,
  slot: number,
): Promise<Contender> {
  const { mode } = scenario;
  const on = cpusOf(candidate, scenario);
  const port = FIRST_PORT + slot * PORTS_EACH;
  const backends = scenario.cpus === 'scaled' ? [port + 2, port + 3] : [port + 2];
  const files = mode === 'sni' || mode === 'https' ? certificate() : [];
  const started = async (...args: Parameters<typeof start>): Promise<Running> => {
    const running = await start(...args);
    stage.defer(() => running.stop());
    return running;
  };
  for (const backend of backends) {
    const path = join(ROOT, 'bench/lib/backend.ts');
    const command = [process.execPath, path, String(backend), ...(mode === 'sni' ? files : [])];
    await started(`backend-${backend}`, on.load, command, () => listens(backend));
  }
  const command = commandOf(candidate, scenario, { port, backends, folder });
  const proxy =
    command &&
    (await started(candidate, on.proxy, command, () => isReady(candidate, scenario, port)));
  return {
    candidate,
    port: proxy ? port : port + 2,
    loadCpus: on.load,
    pid: proxy?.pid,
  };
}
