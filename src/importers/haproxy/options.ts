/** Words that each option of a `bind` or `server` line takes, and what becomes of it. */
type Option = {
  /** How many words follow; 0: a flag. */
  readonly words: number;
  /** Empty: translated. Otherwise why it is not. */
  readonly why: string;
};

/** The options of one line, the last of each name. */
export type Options = ReadonlyMap<string, string>;

const NO_COUNTERPART = 'there is no counterpart';

function table(entries: readonly (readonly [why: string, words: number, names: string])[]) {
  return new Map(
    entries.flatMap(([why, words, names]) =>
      names
        .split(/\s+/)
        .map((name): [string, Option] => [name, { words, why: why === '' ? '' : why }]),
    ),
  );
}

/** Options of `bind`. Source: HAProxy 2.6 manual, section 5.1. */
export const BIND_OPTIONS: ReadonlyMap<string, Option> = table([
  [
    '',
    0,
    'ssl accept-proxy strict-sni v4v6 v6only no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13',
  ],
  ['', 0, 'force-tlsv12 force-tlsv13 allow-0rtt defer-accept tfo transparent no-tls-tickets'],
  ['', 1, 'crt crt-list alpn ca-file crl-file verify ciphers ciphersuites ssl-min-ver ssl-max-ver'],
  ['', 1, 'maxconn mode name id npn nice backlog process thread user group uid gid curves ecdhe'],
  ['', 1, 'interface mss tcp-ut level proto expose-fd tls-ticket-keys'],
  [NO_COUNTERPART, 0, 'accept-netscaler-cip generate-certificates prefer-client-ciphers'],
  [NO_COUNTERPART, 1, 'ca-ignore-err crt-ignore-err ca-sign-file ca-sign-pass ca-verify-file'],
  [
    NO_COUNTERPART,
    1,
    'namespace severity-output ssl-load-extra-files sigalgs client-sigalgs ocsp-update',
  ],
]);

/** Options of `server`, `default-server`, `server-template`. Source: HAProxy 2.6 manual, 5.2. */
export const SERVER_OPTIONS: ReadonlyMap<string, Option> = table([
  ['', 0, 'check no-check backup no-backup disabled enabled ssl no-ssl check-ssl no-check-ssl'],
  ['', 0, 'send-proxy send-proxy-v2 no-send-proxy no-send-proxy-v2 check-send-proxy agent-check'],
  [
    '',
    0,
    'no-agent-check non-stick tfo allow-0rtt ssl-reuse no-ssl-reuse stick no-check-send-proxy',
  ],
  ['', 0, 'no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 no-tls-tickets tls-tickets log-proto'],
  [
    '',
    1,
    'weight maxconn cookie inter fastinter downinter rise fall port slowstart verify ca-file',
  ],
  ['', 1, 'crl-file crt sni alpn check-sni check-alpn proto check-proto id agent-port agent-inter'],
  [
    '',
    1,
    'agent-send agent-addr observe error-limit on-error on-marked-down on-marked-up resolvers',
  ],
  [
    '',
    1,
    'init-addr resolve-prefer resolve-opts resolve-net pool-max-conn pool-purge-delay maxqueue',
  ],
  [
    '',
    1,
    'pool-low-conn max-reuse minconn verifyhost tcp-ut ssl-min-ver ssl-max-ver addr init-state',
  ],
  [
    'there is no counterpart',
    1,
    'source namespace redir track proxy-v2-options ciphers ciphersuites',
  ],
  [
    'there is no counterpart',
    1,
    'socks4 shard ws hash-key check-via-socks4 set-proxy-v2-tlv-fmt usesrc',
  ],
  ['there is no counterpart', 0, 'send-proxy-v2-ssl send-proxy-v2-ssl-cn check-via-socks4'],
]);

/** What `readOptions` says of a line. */
export type OptionReport = {
  readonly unknown: (name: string) => void;
  readonly unsupported: (name: string, why: string) => void;
};

/** Reads options from `start` on; those that stand twice count once, the last. */
export function readOptions(
  known: ReadonlyMap<string, Option>,
  words: readonly string[],
  report: OptionReport,
): Map<string, string> {
  const options = new Map<string, string>();
  for (let at = 0; at < words.length; at++) {
    const name = words[at] ?? '';
    const option = known.get(name);
    if (!option) {
      report.unknown(name);
      continue;
    }
    const value = words.slice(at + 1, at + 1 + option.words).join(' ');
    at += option.words;
    // These two take words of their own: what follows `shutdown-sessions` is another option.
    if (option.why !== '') report.unsupported(value === '' ? name : `${name} ${value}`, option.why);
    else if (name === 'crt')
      options.set(name, [options.get(name), value].filter(Boolean).join('\n'));
    else options.set(name, value);
  }
  return options;
}
