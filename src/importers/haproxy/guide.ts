import {
  type Directive,
  GLOBAL_DIRECTIVES,
  LEFT_SECTIONS,
  PROXY_DIRECTIVES,
} from './directives.ts';

const HEAD = `# Moving from HAProxy

\`\`\`sh
sluice convert haproxy.cfg -o sluice.yaml   # YAML, and a report on standard error
sluice convert --strict haproxy.cfg         # exit 1 when something is left out
sluice check -c haproxy.cfg                 # says where the file is wrong
sluiced --config haproxy.cfg                # runs it as it is; reload and other files as with YAML
\`\`\`

The report has three lists: what was **translated**, what was **approximated** (with the
reason), and what is **unsupported**, each with its line. A rule that cannot be told as a route
is left out whole, so read the third list before you switch: a \`deny\` may be in it. Errors are
what HAProxy would refuse, too.

1. Convert, read the report, mend what is left out.
2. Run both side by side on other ports, and compare with your own requests: the tests of this
   project do the same with the files in \`test/fixtures/haproxy\`.
3. Let Sluice take the ports. \`metrics: { compat: haproxy }\`, \`admin.runtime\` and
   \`logFormat\` keep boards, scripts and log readers at work (\`docs/haproxy-operations.md\`).

## What is different everywhere

- A rule becomes a route, each case of its condition one more, and the first that matches takes
  a request. Rules that change some requests make two cases of all rules after them. Conditions
  ask for the path that the client sent, not for one that a rule has rewritten.
- Hosts are compared without port and case, and sent on in small letters. Dot segments of paths
  are removed.
- A retry goes to another server at once, with \`option redispatch\` or without. A server that
  cannot be reached is answered with 502, one that is known to be down with 503 as before.
- The value of a sticky cookie is signed and tells no server's name, so that clients are spread
  anew once. Set \`cookieKey\` to keep it over restarts and on several hosts.
- \`option forwardfor\` adds to the list that is there instead of sending a second field. What
  clients claim passes on (\`forwarded.claims: keep\`), as it did; name your own proxies in
  \`forwarded.trust\` and take \`claims\` away when nothing needs it.
- \`accept-proxy\` believes everybody, as it did: narrow \`acceptProxy.from\`.
- Timeouts that a file does not set have defaults: see \`timeouts\` in \`docs/config.md\`.
- A \`bind\` with \`ssl\` and without \`alpn\` speaks HTTP/2, too. A listener has one set of TLS
  settings, so binds with others become listeners of their own (\`NAME-2\`, \`NAME-tls\`).
- A service has one check, one slow start, one way of being reached: those of its first server.
- \`server-template\` asks the name server of its \`resolvers\`. Docker's, 127.0.0.11, answers
  in containers only; on the host itself take \`discover: { tasks }\` or \`discover: { cluster
  }\`.
- Rules on answers are carried out on refusals of the gateway itself, too.
- Requests without the field or parameter that is hashed go by the client's address.
- \`path_beg /api\` takes \`/apix\` as well, which is written \`/api*\`; you may mean
  \`/api/*\`.

## Conditions

| HAProxy | Sluice |
|---|---|
| \`path\`, \`path_beg\`, \`_end\`, \`_sub\`, \`_dir\`, \`_reg\` | \`match.path\`: exact, \`/start*\`, or an expression |
| \`hdr(host)\`, \`_beg\`, \`_end\`, \`_dom\`, \`_reg\`, \`_sub\` | \`match.host\` |
| \`base\`, \`base_beg\` | \`match.host\` with \`match.path\` |
| \`url_beg\` without a query | \`match.path\` |
| \`hdr(NAME)\`, \`req.hdr\`, \`_cnt gt 0\`, \`-m found\` | \`match.header\` |
| \`cook(NAME)\`, \`urlp(NAME)\` | \`match.cookie\`, \`match.query\` |
| \`method\`, \`METH_GET\` and others | \`match.method\` |
| \`src\` | \`match.source\` |
| \`req.ssl_sni\`, \`ssl_fc_sni\` | \`match.sni\` |
| \`ssl_fc\`, \`dst_port\` | settled for each listener |
| \`http_auth(LIST)\`, \`http_auth_group(LIST)\` with \`http-request auth\` | \`basicAuth\`; hashes of crypt(3) are kept |
| \`sc_http_req_rate(N)\`, \`src_http_req_rate\` with \`deny\` | \`rateLimit\` with its \`status\` |
| \`sc_conn_cur\`, \`src_conn_cur\` with \`tcp-request … reject\` | \`limits.maxConnectionsPerSource\` |
| \`req.body_size\`, \`hdr_val(content-length)\` with \`deny\` | \`maxBodyBytes\` |
| \`nbsrv(BACKEND)\` | \`match.live\` |
| \`status\` in \`http-response\` rules | \`status\` of \`headers.response\` |
| \`var(NAME)\` | what the last rule that holds sets it to, for texts and samples above |
| \`capture.req.hdr(N)\` | the field that is captured |
| \`map(FILE)\` and \`map_beg\`, \`_end\`, \`_dom\`, \`_sub\`, \`_dir\`, \`_reg\`, \`_ip\` | its lines, as conditions, backends and redirects |
| other counts of \`sc_*\`, queues, \`hdr_ip\`, \`rand\`, certificates of clients, Lua | not asked |

\`-i\`, \`-m\`, \`-f FILE\`, \`!\`, \`or\` and named ACLs work as before.
Expressions are RE2: without back references and look-around.

\`.if\`, \`.elif\`, \`.else\` and \`.endif\` choose lines while the file is read, by \`defined\`,
\`streq\`, \`strneq\`, \`version_atleast\` and \`version_before\` (the version is 2.6). A condition
that asks for HAProxy's own build, such as \`feature\`, is taken as false and reported as unsupported.

`;

function table(title: string, rows: readonly Directive[]): string {
  const lines = rows
    .toSorted((a, b) => (a.keyword < b.keyword ? -1 : 1))
    .map(
      ({ keyword, level, note }) =>
        `| \`${keyword}\` | ${level} | ${note.replaceAll('|', '\\|')} |`,
    );
  return `## ${title}\n\n| directive | | Sluice, or why not |\n|---|---|---|\n${lines.join('\n')}\n`;
}

/** The guide for those who come from HAProxy: a table of every directive that is known. */
export function haproxyGuide(): string {
  const left = Object.entries(LEFT_SECTIONS).map(([kind, why]) => `| \`${kind}\` | ${why} |`);
  return [
    HEAD + table('Directives of frontends and backends', PROXY_DIRECTIVES),
    table('Directives of `global`', GLOBAL_DIRECTIVES),
    `## Sections that are left out\n\n| section | why |\n|---|---|\n${left.join('\n')}\n`,
  ].join('\n');
}
