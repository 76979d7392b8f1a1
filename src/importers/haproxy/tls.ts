import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import type { Options } from './options.ts';
import type { Work } from './proxy.ts';
import type { Statement } from './sections.ts';
import { compact } from './values.ts';

type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];
type TlsInput = NonNullable<ListenerInput['tls']>;
type Version = NonNullable<TlsInput['minVersion']>;
type Pair = { readonly cert: string; readonly key: string };

const VERSIONS: readonly Version[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];
const NO_VERSION = ['no-tlsv10', 'no-tlsv11', 'no-tlsv12', 'no-tlsv13'];
/** Those of OpenSSL; without one of them a list of ciphers would end TLS 1.3. */
const SUITES = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256';
/** Files of a folder that hold no certificate. Source: HAProxy 2.6 manual, `crt`. */
const NO_CERTIFICATE = /\.(key|ocsp|issuer|sctl|rsa\.ocsp)$/;

/** The TLS of a `bind ... ssl`, with what `global` says for all. */
export function listenerTls(options: Options, statement: Statement, work: Work): TlsInput {
  const { global } = work;
  const defaults = global.words('ssl-default-bind-options');
  const certificates = certificatesOf(options, statement, work);
  const ciphers = options.get('ciphers') ?? global.words('ssl-default-bind-ciphers')[0];
  const suites = options.get('ciphersuites') ?? global.words('ssl-default-bind-ciphersuites')[0];
  const alpn = options
    .get('alpn')
    ?.split(',')
    .filter((one) => one === 'h2' || one === 'http/1.1');
  return {
    certificates,
    ...compact({
      minVersion: minimum(options, defaults),
      maxVersion: maximum(options, defaults),
      ciphers:
        ciphers === undefined && suites === undefined
          ? undefined
          : [suites ?? SUITES, ciphers].filter(Boolean).join(':'),
      alpn: alpn && alpn.length > 0 ? alpn : undefined,
      strictSni: options.has('strict-sni') || undefined,
      clientAuth: clientAuth(options, work),
    }),
  };
}

function has(name: string, options: Options, defaults: readonly string[]): boolean {
  return options.has(name) || defaults.includes(name);
}

function wordOf(name: string, options: Options, defaults: readonly string[]): string | undefined {
  return (
    options.get(name) ??
    (defaults.includes(name) ? defaults[defaults.indexOf(name) + 1] : undefined)
  );
}

function versionOf(text: string | undefined): Version | undefined {
  return VERSIONS.find((one) => one === (text === 'TLSv1.0' ? 'TLSv1' : text));
}

function minimum(options: Options, defaults: readonly string[]): Version | undefined {
  const said = versionOf(wordOf('ssl-min-ver', options, defaults));
  if (said) return said;
  if (has('force-tlsv13', options, defaults)) return 'TLSv1.3';
  if (has('force-tlsv12', options, defaults)) return 'TLSv1.2';
  const first = NO_VERSION.findIndex((name) => !has(name, options, defaults));
  // Without a word HAProxy begins with TLS 1.2, as we do.
  return first > 2 ? VERSIONS[first] : undefined;
}

function maximum(options: Options, defaults: readonly string[]): 'TLSv1.2' | undefined {
  const said = wordOf('ssl-max-ver', options, defaults);
  const older = has('no-tlsv13', options, defaults) || has('force-tlsv12', options, defaults);
  return said === 'TLSv1.2' || older ? 'TLSv1.2' : undefined;
}

function clientAuth(options: Options, work: Work): TlsInput['clientAuth'] {
  const verify = options.get('verify');
  const ca = options.get('ca-file');
  if (ca === undefined || verify === undefined || verify === 'none') return undefined;
  const crl = options.get('crl-file');
  return {
    ca: under('ca-base', ca, work),
    ...(crl !== undefined && { crl: under('ca-base', crl, work) }),
    mode: verify === 'optional' ? 'optional' : 'require',
  };
}

function under(keyword: string, path: string, { global }: Work): string {
  const [folder] = global.words(keyword);
  return folder === undefined || path.startsWith('/') ? path : `${folder}/${path}`;
}

function certificatesOf(options: Options, { text, line }: Statement, work: Work): Pair[] {
  const crt = options.get('crt')?.split('\n') ?? [];
  const list = options.get('crt-list');
  const listed = list === undefined ? [] : listOf(list, work);
  if (list !== undefined && !listed) {
    work.reporter.error(text, line, work.unreadable(`the crt-list ${list}`, list));
  }
  const pairs = [...crt, ...(listed ?? [])].flatMap((path) =>
    pairsOf(under('crt-base', path, work), work),
  );
  if (pairs.length === 0) work.reporter.error(text, line, 'ssl needs a crt with a certificate');
  return pairs;
}

/** The certificates of a `crt-list`: a path a line, options and names of it left aside. */
function listOf(path: string, work: Work): string[] | undefined {
  const lines = work.readFile(path)?.split(/\r?\n/);
  return lines?.flatMap((line) => {
    const [file = ''] = line
      .replace(/^\s*#.*/, '')
      .trim()
      .split(/\s+/);
    return file === '' ? [] : [file];
  });
}

/** One file with certificate and key, or each one of a folder. */
function pairsOf(path: string, { io, readFile }: Work): Pair[] {
  const names = io.listDirectory?.(path);
  if (!names) return [pairOf(path, readFile)];
  const files = names.filter((name) => !NO_CERTIFICATE.test(name)).sort();
  return files.map((name) => pairOf(`${path.replace(/\/$/, '')}/${name}`, readFile));
}

/** The key stands in the file itself, or in one of the same name with `.key`. */
function pairOf(cert: string, readFile: Work['readFile']): Pair {
  const text = readFile(cert);
  const apart = text !== undefined && !text.includes('PRIVATE KEY');
  return { cert, key: apart ? `${cert}.key` : cert };
}
