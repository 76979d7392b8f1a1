/** How well a directive is carried over. */
export type Level = 'translated' | 'approximated' | 'unsupported';

/** One keyword of HAProxy, and what becomes of it. */
export type Directive = {
  /** As the manual's index has it; the longest that fits a line is meant. */
  readonly keyword: string;
  readonly level: Level;
  /** What it becomes, or why it does not; for the report and for the guide. */
  readonly note: string;
};

function rows(level: Level, table: Readonly<Record<string, string>>): Directive[] {
  return Object.entries(table).map(([keyword, note]) => ({ keyword, level, note }));
}

function all(level: Level, note: string, keywords: string): Directive[] {
  const list = keywords.trim().split(/\s*\n\s*|\s*,\s*/);
  return list.map((keyword) => ({ keyword, level, note }));
}

const TUNING = "tunes HAProxy's own engine";
const OPERATION = 'the service manager or the environment does it';
const NO_COUNTERPART = 'there is no counterpart';

/** Keywords of `global`. Source: HAProxy 2.6 manual, section 3. */
export const GLOBAL_DIRECTIVES: readonly Directive[] = [
  ...rows('translated', {
    maxconn: '`limits.maxConnections` of listeners that have none of their own',
    nbthread: '`workers`',
    nbproc: '`workers`',
    user: '`user`',
    group: '`group`',
    'ssl-default-bind-options': '`tls.minVersion`, `tls.maxVersion` of listeners',
    'ssl-default-bind-ciphers': '`tls.ciphers` of listeners',
    'ssl-default-bind-ciphersuites': '`tls.ciphers` of listeners',
    'ca-base': 'put before paths of authorities',
    'crt-base': 'put before paths of certificates',
    'key-base': 'put before paths of keys',
    setenv: 'variables of the lines below',
    presetenv: 'variables of the lines below',
    unsetenv: 'variables of the lines below',
    'hard-stop-after': '`shutdown.timeout`',
    log: '`log.access`; what goes to a syslog server goes to standard output',
    'stats socket': '`admin.runtime`',
    description: 'a remark',
    node: 'a remark',
  }),
  ...rows('approximated', {
    'ssl-default-server-options': '`verify` alone has a counterpart, `tls.verify` of services',
    'ssl-server-verify':
      '`tls.verify` of services: certificates are checked unless a server says `verify none`',
  }),
  ...all(
    'approximated',
    OPERATION,
    'daemon, pidfile, chroot, uid, gid, master-worker, ulimit-n, localpeer',
  ),
  ...all(
    'approximated',
    OPERATION,
    'mworker-max-reloads, set-dumpable, default-path, strict-limits',
  ),
  ...all(
    'approximated',
    TUNING,
    `nopoll, noepoll, nokqueue, noevports, nosplice, nogetaddrinfo, noreuseport, no-memory-trimming
    cpu-map, busy-polling, max-spread-checks, spread-checks, maxpipes, maxzlibmem, maxcompcpuusage
    maxcomprate, thread-groups, thread-group, numa-cpu-mapping, profiling.tasks, quiet, zero-warning
    ssl-dh-param-file, ssl-skip-self-issued-ca, ssl-load-extra-files, ssl-load-extra-del-ext
    close-spread-time, cluster-secret, unix-bind, log-tag, log-send-hostname, server-state-base
    server-state-file, maxsslconn, maxconnrate, maxsessrate, maxsslrate, insecure-fork-wanted
    insecure-setuid-wanted, h2-workaround-bogus-websocket-clients, stats timeout, stats maxconn
    stats bind-process, grace, set-var, set-var-fmt, debug, expose-experimental-directives
    pp2-never-send-local, limited-quic, no-quic`,
  ),
  ...all(
    'unsupported',
    'programs within the proxy are not run',
    'lua-load, lua-load-per-thread, lua-prepend-path, external-check, wurfl-data-file, wurfl-information-list, wurfl-information-list-separator, wurfl-cache-size, 51degrees-data-file, 51degrees-property-name-list, deviceatlas-json-file, module-path, module-load, lua-set-env',
  ),
  ...all(
    'unsupported',
    NO_COUNTERPART,
    `ssl-engine, ssl-mode-async, ssl-default-server-ciphers, ssl-default-server-ciphersuites
    issuers-chain-path, h1-case-adjust, h1-case-adjust-file, ssl-propquery, ssl-provider, resetenv
    default-timeout`,
  ),
];

/** Keywords of frontends, backends and what they start from. Source: HAProxy 2.6 manual, 4.1. */
export const PROXY_DIRECTIVES: readonly Directive[] = [
  ...rows('translated', {
    acl: '`match` of the routes whose rules name it',
    bind: '`bind`, `protocol`, `tls`, `acceptProxy` of a listener; other options: another listener',
    mode: '`protocol` of a listener',
    server: '`endpoints` of a service',
    'server-template': '`discover: { dns }` of a service',
    'default-server': 'what servers have in common',
    default_backend: '`service` of a listener',
    use_backend:
      '`routes` of a listener, one for each case; maps by host or path: one for each line',
    balance: '`balance`',
    'hash-type': '`balance`: map-based or `consistent-hash`',
    'hash-balance-factor': '`balance.boundedLoad`',
    cookie: '`sticky: { cookie }`',
    retries: '`retries.attempts`',
    'retry-on': '`retries.on`',
    'option redispatch': '`retries`: always on',
    'option persist': 'always off: a client whose endpoint is down gets another',
    maxconn: '`limits.maxConnections`',
    'timeout connect': '`timeouts.connect`',
    'timeout client': '`timeouts.idle` and `timeouts.write` of listeners',
    'timeout server': '`timeouts.request` and `timeouts.idle` of services',
    'timeout http-request': '`timeouts.header`',
    'timeout http-keep-alive': '`timeouts.idle` of listeners',
    'timeout queue': '`limits.queue.timeout`',
    'timeout tunnel': '`timeouts.tunnel`',
    'timeout check': '`health.timeout`',
    'timeout client-fin': '`timeouts.halfClose`',
    'timeout server-fin': '`timeouts.halfClose`',
    'option httpchk': '`health: { type: http }`',
    'option tcp-check': '`health: { type: tcp }` or `send-expect`',
    'option ssl-hello-chk': '`health: { type: tls }`',
    'option redis-check': '`health: { type: send-expect }`',
    'option smtpchk': '`health: { type: send-expect }`',
    'http-check send': '`health` path, method, host, headers',
    'http-check expect': '`health.expect`',
    'http-check connect': '`health.port`, `health.type`',
    'tcp-check connect': '`health.port`',
    'tcp-check send': '`health.send`, `health.more`',
    'tcp-check send-lf': '`health.send`, `health.more`',
    'tcp-check send-binary': '`health.send`, `health.more`',
    'tcp-check expect': '`health.expect`, `health.more`',
    'option forwardfor': '`forwarded.headers: [x-forwarded-for]`, joined to one list',
    'option dontlognull': 'always so',
    'option httplog': '`log.access.format: httplog`',
    'option tcplog': '`log.access.format: tcplog`',
    'option allbackups': 'always so: backups share the load',
    'option http-keep-alive': 'always so',
    'option http-server-close': 'connections to endpoints are kept',
    'option abortonclose': 'always so',
    'option log-health-checks': 'changes of health are always logged',
    'monitor-uri': 'a route that answers 200',
    'monitor fail': 'a route before it that answers 503',
    'unique-id-header': '`headers.request` of routes, with `{requestId}`',
    redirect: '`redirect` of a route',
    'http-request':
      'routes and their `headers`, `rewrite`, `respond`, `redirect`, `basicAuth`, `rateLimit`',
    'http-response': '`headers.response` of routes',
    'http-after-response': '`headers.response` of routes',
    'tcp-request connection': '`access` of a listener',
    'tcp-request session': '`access` of a listener',
    'tcp-request content':
      '`access` of a listener; waiting for a ClientHello: `protocol: tls-passthrough`',
    'tcp-request inspect-delay': '`timeouts.handshake`',
    'stick-table': '`sticky: { source }` with `stick on src`; rates of requests: `rateLimit`',
    'stick on': '`sticky`',
    errorfile: '`errorPages`: the body of the file',
    'http-error': '`errorPages`',
    errorfiles: '`errorPages`: those of a section `http-errors`',
    'stats enable': 'a route with `stats`',
    'stats uri': '`match.path` of the route with `stats`',
    'stats auth': '`basicAuth` of the route with `stats`',
    'stats realm': '`basicAuth.realm` of the route with `stats`',
    'stats refresh': '`stats.refresh`',
    'stats hide-version': '`stats.hideVersion`',
    'stats admin': '`stats.admin`, where there is `stats auth`',
    log: '`accessLog` of a listener',
    'log-format': '`log.access.format: { logFormat }`',
    description: 'a remark',
    disabled: 'the section is left out',
    enabled: 'the section is taken',
    fullconn: 'has no use without `minconn`',
    id: 'a remark',
    'http-reuse': '`keepAlive`: connections to endpoints are shared',
    compatible: 'a remark',
  }),
  ...rows('approximated', {
    'option httpclose': 'connections are kept; endpoints and clients may close theirs',
    'option forceclose': 'connections are kept; endpoints and clients may close theirs',
    'option ldap-check': 'health is asked by connecting: `health: { type: tcp }`',
    'option mysql-check':
      'health is asked by what a server says first: `health: { type: send-expect }`',
    'option pgsql-check': 'health is asked by an SSL request: `health: { type: send-expect }`',
    'option httpslog': '`log.access.format: httplog`',
    'option tcpka': 'keep-alive probes are sent on every connection',
    'option clitcpka': 'keep-alive probes are sent on every connection',
    'option srvtcpka': 'keep-alive probes are sent on every connection',
    'timeout tarpit': 'who would be held up is refused at once',
    'log-tag': 'lines of the log have no tag',
    'http-check comment': 'a remark',
    'tcp-check comment': 'a remark',
    'unique-id-format': '`{requestId}` has 32 hex digits, whatever is asked for',
    'capture request header': 'only the log would tell it',
    'capture response header': 'only the log would tell it',
    'capture cookie': 'only the log would tell it',
    'declare capture': 'only the log would tell it',
    compression: 'answers are not compressed by the gateway',
    'http-check send-state': 'endpoints are not told of their state',
    'option http-restrict-req-hdr-names':
      '`http.underscoreHeaders` of a listener says what becomes of odd names',
    'rate-limit sessions': 'connections of a second are not limited',
    'stats show-legends': 'the page of statistics has one form',
    'stats show-node': 'the page of statistics has one form',
    'stats show-desc': 'the page of statistics has one form',
    'stats show-modules': 'the page of statistics has one form',
    'stats scope': 'the page of statistics has one form',
  }),
  ...all(
    'approximated',
    TUNING,
    `backlog, bind-process, clitcpka-cnt, clitcpka-idle, clitcpka-intvl, srvtcpka-cnt, srvtcpka-idle
    srvtcpka-intvl, max-keep-alive-queue, option contstats, option http-no-delay
    option http-pretend-keepalive, option http-buffer-request, option http-ignore-probes
    option independent-streams, option nolinger, option prefer-last-server, option socket-stats
    option splice-auto, option splice-request, option splice-response, option tcp-smart-accept
    option tcp-smart-connect, option idle-close-on-response, option logasap, option http-tunnel
    option dontlog-normal, option log-separate-errors, option disable-h2-upgrade, grace
    option accept-invalid-http-request, option accept-invalid-http-response, option checkcache
    option h1-case-adjust-bogus-client, option h1-case-adjust-bogus-server, option http-use-htx
    server-state-file-name, load-server-state-from-file, log-format-sd, error-log-format`,
  ),
  ...all(
    'unsupported',
    NO_COUNTERPART,
    `dispatch, email-alert, errorloc, errorloc302, errorloc303, force-persist, filter
    http-check disable-on-404, http-check set-var, http-check unset-var, http-send-name-header
    ignore-persist, option external-check, external-check command
    external-check path, option spop-check, option originalto, option transparent, transparent
    option http-use-proxy-header, option http_proxy, persist rdp-cookie, source, stick match
    stick store-request, stick store-response
    tcp-check send-binary-lf, tcp-check set-var, tcp-check unset-var, tcp-response content
    tcp-response inspect-delay, use-fcgi-app, use-server
    stats http-request, guid, option use-small-buffers, log-steps, hash-preserve-affinity,
    persist, force-be-switch, option http-drop-request-trailers
    option http-drop-response-trailers`,
  ),
  ...all(
    'translated',
    'as the `http-request` or `http-response` rule that took its place in HAProxy',
    'reqadd, reqdel, reqidel, reqrep, reqirep, rspadd, rspdel, rspidel, rsprep, rspirep, block',
  ),
  ...all(
    'unsupported',
    'was removed from HAProxy; `http-request` and `http-response` say the same',
    `reqallow, reqdeny, reqiallow, reqideny, reqipass, reqitarpit, reqpass, reqtarpit, rspdeny
    rspideny`,
  ),
];

/** Sections that are not carried over, and why. */
export const LEFT_SECTIONS: Readonly<Record<string, string>> = {
  peers: 'tables are not shared between hosts',
  mailers: 'no mail is sent',
  program: 'programs are run by the service manager',
  cache: 'answers are not kept',
  ring: 'logs are written to standard output or a file',
  'log-forward': 'logs are not taken in',
  'fcgi-app': 'FastCGI is not spoken',
  'dynamic-update': 'there is no counterpart',
  'crt-store': 'certificates are named by listeners',
  traces: 'there is no counterpart',
};

/** The row whose keyword a line begins with; the longest wins. */
export function findDirective(
  table: readonly Directive[],
  words: readonly string[],
): Directive | undefined {
  for (const length of [3, 2, 1]) {
    const keyword = words.slice(0, length).join(' ');
    const found = words.length >= length && table.find((row) => row.keyword === keyword);
    if (found) return found;
  }
  return undefined;
}
