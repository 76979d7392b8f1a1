import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Candidate, Scenario } from './cases.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const PROXY_CPU = '0';
const LOAD_CPU = '1';
/** Port of the backend and, one above, of the proxy under test. */
export const BACKEND_PORT = 18_090;
export const PROXY_PORT = 18_091;

/** A started process tree; `stop` ends it. */
export type Running = { readonly pid: number; stop(): Promise<void> };

const PROGRAMS = ['haproxy', 'nginx', 'h2load', 'wrk', 'dnsperf', 'dnsmasq'] as const;

function onPath(program: string): boolean {
  return `/usr/sbin:/usr/bin:/usr/local/bin`.split(':').some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Whether this machine has the candidate's or load generator's program. */
export function available(name: Candidate['name'] | (typeof PROGRAMS)[number]): boolean {
  return PROGRAMS.some((program) => program === name) ? onPath(name) : true;
}

async function untilListening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1');
      socket.on('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`nothing listens on ${port}`);
}

async function run(cpu: string, port: number, command: readonly string[]): Promise<Running> {
  const child = spawn('taskset', ['-c', cpu, ...command], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await untilListening(port);
  return {
    pid: child.pid ?? 0,
    stop: () => {
      child.kill('SIGTERM');
      const last = setTimeout(() => child.kill('SIGKILL'), 5000);
      return ended.finally(() => clearTimeout(last));
    },
  };
}

let folder: string | undefined;

/** A file of this run; the folder goes with the process. */
function file(name: string, text: string): string {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The server behind every proxy: raw sockets, a fixed answer, keep-alive. */
export function startBackend(): Promise<Running> {
  const script = join(ROOT, 'bench/lib/backend.ts');
  return run(LOAD_CPU, BACKEND_PORT, [process.execPath, script, String(BACKEND_PORT)]);
}

function sluiceConfig(mode: Scenario['mode']): string {
  const protocol = mode === 'tcp' ? 'tcp' : 'http';
  return `workers: 1
admin: { bind: "127.0.0.1:18092" }
listeners: { main: { bind: "127.0.0.1:${PROXY_PORT}", protocol: ${protocol}, service: app } }
services: { app: { endpoints: ["127.0.0.1:${BACKEND_PORT}"] } }
`;
}

function haproxyConfig(mode: Scenario['mode']): string {
  return `global
  nbthread 1
defaults
  mode ${mode === 'tcp' ? 'tcp' : 'http'}
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  ${mode === 'tcp' ? '' : 'option forwardfor'}
listen main
  bind 127.0.0.1:${PROXY_PORT}${mode === 'h2' ? ' proto h2' : ''}
  server s1 127.0.0.1:${BACKEND_PORT} check
`;
}

function nginxConfig(mode: Scenario['mode']): string {
  const modules = '/usr/lib/nginx/modules/ngx_stream_module.so';
  const http = `http { access_log off; keepalive_requests 1000000000;
  upstream app { server 127.0.0.1:${BACKEND_PORT}; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${PROXY_PORT}${mode === 'h2' ? ' http2' : ''}; location / { proxy_pass http://app; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }`;
  const stream = `stream { server { listen 127.0.0.1:${PROXY_PORT};
  proxy_pass 127.0.0.1:${BACKEND_PORT}; } }`;
  return `${mode === 'tcp' ? `load_module ${modules};` : ''}
daemon off; worker_processes 1; pid /tmp/sluice-bench-nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
${mode === 'tcp' ? stream : http}
`;
}

/** Starts a candidate before the backend; undefined for the direct connection. */
export async function startProxy(
  candidate: Candidate,
  scenario: Scenario,
): Promise<Running | undefined> {
  const { mode } = scenario;
  switch (candidate.name) {
    case 'direct':
      return undefined;
    case 'sluice':
      return run(PROXY_CPU, PROXY_PORT, [
        process.execPath,
        join(ROOT, 'src/main/sluiced.ts'),
        '--config',
        file('sluice.yaml', sluiceConfig(mode)),
      ]);
    case 'haproxy':
      return run(PROXY_CPU, PROXY_PORT, [
        'haproxy',
        '-f',
        file('haproxy.cfg', haproxyConfig(mode)),
      ]);
    case 'nginx':
      return run(PROXY_CPU, PROXY_PORT, ['nginx', '-c', file('nginx.conf', nginxConfig(mode))]);
    case 'http-proxy': {
      const script = join(ROOT, 'bench/lib/http-proxy.ts');
      const ports = [String(PROXY_PORT), String(BACKEND_PORT)];
      return run(PROXY_CPU, PROXY_PORT, [process.execPath, script, ...ports]);
    }
  }
}
