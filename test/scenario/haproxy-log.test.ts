import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Haproxy, noHaproxy } from '../support/haproxy.ts';

const skip = noHaproxy;

const CUSTOM =
  '%ci|%f|%ft|%b|%s|%si:%sp|%ST|%HM|%HP|%HQ|%HU|%HV|%{+Q}r|%rc|%ts|%tsc|%CC|%CS|%fi:%fp|%sslv|%%|%{+Q}o%HM%{-Q}s|%sq';

/** Sends exact bytes on a connection of its own and waits for its end. */
function raw(port: number, text: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.resume();
  });
}

const closing = (line: string) => `${line}\r\nhost: a.test\r\nconnection: close\r\n\r\n`;

/** What every program is sent, one after the other. */
const REQUESTS = [
  closing('GET /plain HTTP/1.1'),
  closing('GET /missing?a=1&b=%22x HTTP/1.1'),
  closing('GET /odd|{x}? HTTP/1.1'),
  closing('HEAD /head HTTP/1.1'),
  closing('GET /down HTTP/1.1'),
  closing('GET /moved HTTP/1.1'),
  closing('GET /said HTTP/1.1'),
  closing('DELETE /plain HTTP/1.0'),
];

async function both(t: TestContext, format: 'httplog' | 'tcplog' | string) {
  const [web = 0, tcp = 0, theirs = 0, theirTcp = 0, alive = 0, dead = 0] = await freePorts(6);
  const server = http.createServer((question, answer) => {
    answer.statusCode = question.url?.startsWith('/missing') ? 404 : 200;
    answer.end('hello\n');
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(alive, '127.0.0.1', resolve));
  const real: string[] = [];
  const sink = dgram.createSocket('udp4');
  t.after(() => sink.close());
  sink.on('message', (data) => real.push(data.toString().trim()));
  await new Promise<void>((resolve) => sink.bind(0, '127.0.0.1', resolve));
  const named = format === 'httplog' || format === 'tcplog';
  const option = (own: string) =>
    named ? `option ${own}` : `log-format "${format.replaceAll('"', '\\"')}"`;
  await Haproxy.start(
    t,
    `defaults
  mode http
  log 127.0.0.1:${sink.address().port} format raw local0
  timeout connect 1s
  timeout client 5s
  timeout server 5s
  retries 0
frontend web
  bind 127.0.0.1:${theirs}
  ${option('httplog')}
  http-request redirect location /plain code 302 if { path /moved }
  http-request return status 200 content-type text/plain string said if { path /said }
  use_backend down if { path /down }
  default_backend app
backend app
  server s1 127.0.0.1:${alive}
backend down
  server gone 127.0.0.1:${dead}
listen raw
  mode tcp
  bind 127.0.0.1:${theirTcp}
  option tcplog
  server t1 127.0.0.1:${alive}
`,
  );
  const own = named ? format : `{ logFormat: '${format}' }`;
  const gateway = await Gateway.start(
    `log: { access: { file: "{DIR}/access.log", format: ${own} } }
listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    http: { encodedSlashes: keep }
    routes:
      - { match: { path: /moved }, redirect: { to: /plain } }
      - { match: { path: /said }, respond: { body: said } }
      - { match: { path: /down }, service: down }
      - { service: app }
  raw: { bind: "127.0.0.1:${tcp}", protocol: tcp, service: raw }
services:
  app: { endpoints: [{ name: s1, address: "127.0.0.1:${alive}" }], health: false }
  down: { endpoints: [{ name: gone, address: "127.0.0.1:${dead}" }], health: false, passive: false, retries: false }
  raw: { endpoints: [{ name: t1, address: "127.0.0.1:${alive}" }], health: false }
`,
  );
  t.after(() => gateway.stop());
  const path = join(gateway.directory, 'access.log');
  const lines = () =>
    existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  return { real, lines, web, tcp, theirs, theirTcp };
}

/** A refused connection is answered 502 here, 503 there. */
function ours(line: string): string {
  return line.includes('/down') ? line.replace('502', '503') : line;
}

/** Times, ports of clients and sizes, which differ from run to run, made the same. */
function normal(line: string): string {
  return ours(line)
    .replace(/^127\.0\.0\.1:\d+/, 'CLIENT')
    .replace(/\[\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d\.\d{3}\]/, '[TIME]')
    .replace(/ (-?\d+\/)+\+?-?\d+ (\d{3} )?\d+ /, (all, _, status = '') => {
      const timers = all.trim().split(' ')[0] ?? '';
      // Which of them are known is told; how long they were is not the same.
      return ` ${timers.replaceAll(/(^|\/)\d+/g, '$1N')} ${status}SIZE `;
    });
}

test('httplog writes the lines that HAProxy writes', { skip }, async (t) => {
  const { real, lines, web, tcp, theirs, theirTcp } = await both(t, 'httplog');
  for (const [at, text] of REQUESTS.entries()) {
    await Promise.all([raw(web, text), raw(theirs, text)]);
    await eventually('both have a line', () => lines().length > at && real.length > at);
  }
  const text = closing('GET / HTTP/1.1');
  await Promise.all([raw(tcp, text), raw(theirTcp, text)]);
  const all = REQUESTS.length + 1;
  await eventually('all have a line', () => lines().length === all && real.length === all);
  assert.deepEqual(lines().map(normal), real.map(normal));
});

test('a custom format writes what HAProxy writes in it', { skip }, async (t) => {
  const { real, lines, web, theirs } = await both(t, CUSTOM);
  for (const [at, text] of REQUESTS.entries()) {
    await Promise.all([raw(web, text), raw(theirs, text)]);
    await eventually('both have a line', () => lines().length > at && real.length > at);
  }
  const alike = (line: string) => ours(line).replaceAll(/127\.0\.0\.1:\d+/g, 'ADDRESS');
  assert.deepEqual(lines().map(alike), real.map(alike));
});

test('a field that there is not is refused, with those that there are', async () => {
  const [port = 0] = await freePorts(1);
  const config = (format: string) =>
    `log: { access: { format: { logFormat: '${format}' } } }
listeners: { web: { bind: "127.0.0.1:${port}", protocol: http, routes: [{ respond: {} }] } }
`;
  await assert.rejects(Gateway.start(config('%ci %xx')), /there is no field %xx; there are: B, CC/);
  await assert.rejects(
    Gateway.start(config('%[src]')),
    /expressions such as %\[src\] are not known/,
  );
});
