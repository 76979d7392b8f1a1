import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Candidate, Scenario } from './cases.ts';
import { haproxyConfig, nginxConfig, type Place, sluiceConfig } from './configs.ts';
import { programOf } from './programs.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const PROXY_CPU = '0';
const LOAD_CPU = '1';
const UDP_START_MS = 500;
/** Port of the backend and, one above, of the proxy under test. */
export const BACKEND_PORT = 18_090;
export const PROXY_PORT = 18_091;

/** A started process tree; `stop` ends it. */
export type Running = { readonly pid: number; stop(): Promise<void> };

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

async function until(what: string, met: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    if (await met()) return;
    await setTimeout(25);
  }
  throw new Error(`waited in vain until ${what}`);
}

const listening = (port: number) => until(`something listens on ${port}`, () => listens(port));

/** Its workers serve. */
function sluiceServes(): Promise<void> {
  const ask = () => fetch(`http://127.0.0.1:${PROXY_PORT + 1}/readyz`).then(({ ok }) => ok);
  return until('sluice is ready', () => ask().catch(() => false));
}

async function run(
  cpu: string,
  ready: () => Promise<void>,
  command: readonly string[],
): Promise<Running> {
  const child = spawn('taskset', ['-c', cpu, ...command], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await ready();
  return {
    pid: child.pid ?? 0,
    stop: () => {
      child.kill('SIGTERM');
      const last = new AbortController();
      setTimeout(5000, undefined, { signal: last.signal }).then(
        () => child.kill('SIGKILL'),
        () => {},
      );
      return ended.finally(() => last.abort());
    },
  };
}

let folder: string | undefined;

/** The folder of this run, with a certificate for `localhost`; it goes with the process. */
function place(): Place {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    // The worker of nginx runs as another user.
    chmodSync(made, 0o755);
    folder = made;
  }
  return { port: PROXY_PORT, backend: BACKEND_PORT, folder };
}

function file(name: string, text: string): string {
  const path = join(place().folder, name);
  writeFileSync(path, text);
  return path;
}

/** Certificate and key of TLS 1.3 with ECDSA, made when first asked for. */
function certificate(): string[] {
  const { folder } = place();
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

/** The server behind every proxy: raw sockets, fixed answers, keep-alive. */
export function startBackend({ mode }: Scenario): Promise<Running> {
  const script = join(ROOT, 'bench/lib/backend.ts');
  const encrypted = mode === 'sni' ? certificate() : [];
  const command = [process.execPath, script, String(BACKEND_PORT), ...encrypted];
  return run(LOAD_CPU, () => listening(BACKEND_PORT), command);
}

/** Starts a candidate behind which the backend runs; undefined for the direct connection. */
export async function startProxy(
  candidate: Candidate,
  { mode }: Scenario,
): Promise<Running | undefined> {
  // The processes of the candidate before have ended when their port is free.
  await until(`${PROXY_PORT} is free`, async () => !(await listens(PROXY_PORT)));
  if (mode === 'https') certificate();
  // What listens by UDP is ready when its process has had a moment.
  const ready = () => (mode === 'udp' ? setTimeout(UDP_START_MS) : listening(PROXY_PORT));
  switch (candidate.name) {
    case 'direct':
      return undefined;
    case 'sluice': {
      const config = file('sluice.yaml', sluiceConfig(mode, place()));
      const daemon = join(ROOT, 'src/main/sluiced.ts');
      return run(PROXY_CPU, sluiceServes, [process.execPath, daemon, '--config', config]);
    }
    case 'haproxy': {
      const config = file('haproxy.cfg', haproxyConfig(mode, place()));
      return run(PROXY_CPU, ready, [programOf('haproxy'), '-f', config]);
    }
    case 'nginx': {
      const config = file('nginx.conf', nginxConfig(mode, place()));
      return run(PROXY_CPU, ready, [programOf('nginx'), '-c', config]);
    }
    case 'http-proxy': {
      const script = join(ROOT, 'bench/lib/http-proxy.ts');
      const ports = [String(PROXY_PORT), String(BACKEND_PORT)];
      return run(PROXY_CPU, ready, [process.execPath, script, ...ports]);
    }
  }
}
