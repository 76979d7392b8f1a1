import type { Candidate, Scenario } from './cases.ts';
import { nginxStreamModule } from './programs.ts';

type Mode = Scenario['mode'];

/**
 * Where a proxy listens and, one above, has its admin API; the ports of what is behind it; the folder with
 * `cert.pem`, `key.pem` and `both.pem`.
 */
export type Place = {
  readonly port: number;
  readonly backends: readonly number[];
  readonly folder: string;
};

const PROTOCOLS: Readonly<Record<Mode, string>> = {
  http: 'http',
  h2: 'http',
  https: 'https',
  tcp: 'tcp',
  sni: 'tls-passthrough',
  udp: 'udp',
};

/** Requests under way on one connection to the backend, where there is pipelining. */
const PIPELINING = 16;

/** How many workers a candidate has: as many CPUs are its own. */
export function workersOf(candidate: Candidate): number {
  return candidate === 'sluice-2-workers' ? 2 : 1;
}

/** Metrics, forwarded headers, timeouts and health checks are on, access logs off. */
export function sluiceConfig(candidate: Candidate, mode: Mode, place: Place): string {
  const { port, backends, folder } = place;
  const tls = `tls: { certificates: [ { cert: ${folder}/cert.pem, key: ${folder}/key.pem } ] }, `;
  const to =
    mode === 'sni' ? 'routes: [ { match: { sni: localhost }, service: app } ]' : 'service: app';
  const rest = `protocol: ${PROTOCOLS[mode]}, ${mode === 'https' ? tls : ''}${to}`;
  const http = candidate === 'sluice-pipelined' ? `http: { pipelining: ${PIPELINING} }, ` : '';
  const endpoints = backends.map((backend) => `"127.0.0.1:${backend}"`).join(', ');
  return `workers: ${workersOf(candidate)}
admin: { bind: "127.0.0.1:${port + 1}" }
listeners: { main: { bind: "127.0.0.1:${port}", ${rest} } }
services: { app: { ${http}endpoints: [${endpoints}] } }
`;
}

export function haproxyConfig(candidate: Candidate, mode: Mode, place: Place): string {
  const { port, backends, folder } = place;
  const splices = candidate === 'haproxy-splice';
  const bytes = mode === 'tcp' || mode === 'sni';
  const bind = { h2: ' proto h2', https: ` ssl crt ${folder}/both.pem` }[mode as string] ?? '';
  const sni = `tcp-request inspect-delay 5s
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend app if { req.ssl_sni -i localhost }`;
  return `global
  nbthread 1
  maxconn 8192
  ${splices ? 'maxpipes 64' : ''}
defaults
  mode ${bytes ? 'tcp' : 'http'}
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  ${bytes ? '' : 'option forwardfor'}
  ${splices ? 'option splice-auto' : ''}
frontend main
  bind 127.0.0.1:${port}${bind}
  ${mode === 'sni' ? sni : 'default_backend app'}
backend app
  ${backends.map((backend, at) => `server s${at} 127.0.0.1:${backend} check`).join('\n  ')}
`;
}

function nginxServers({ backends }: Place): string {
  return backends.map((backend) => `server 127.0.0.1:${backend};`).join(' ');
}

function nginxHttp(mode: Mode, place: Place): string {
  const { port, folder } = place;
  const own = { h2: ['', 'http2 on;'], https: [' ssl', ''] }[mode as string] ?? ['', ''];
  const tls = `ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;`;
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/nginx-${name};`,
  );
  return `http { access_log off; keepalive_requests 1000000000; ${paths.join(' ')}
  upstream app { ${nginxServers(place)} keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${port}${own[0]}; ${own[1]} ${mode === 'https' ? tls : ''}
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }`;
}

function nginxStream(mode: Mode, place: Place): string {
  const server = `upstream app { ${nginxServers(place)} }`;
  const listen = `listen 127.0.0.1:${place.port}${mode === 'udp' ? ' udp' : ''};`;
  if (mode !== 'sni') return `stream { ${server} server { ${listen} proxy_pass app; } }`;
  return `stream { ${server} map $ssl_preread_server_name $to { localhost app; }
  server { ${listen} ssl_preread on; proxy_pass $to; } }`;
}

export function nginxConfig(mode: Mode, place: Place): string {
  const bytes = mode === 'tcp' || mode === 'sni' || mode === 'udp';
  return `${bytes ? `load_module ${nginxStreamModule()};` : ''}
daemon off; worker_processes 1; pid ${place.folder}/nginx.pid; error_log stderr crit;
events { worker_connections 8192; }
${bytes ? nginxStream(mode, place) : nginxHttp(mode, place)}
`;
}
