import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { ListenerInput } from './matching.ts';

type Tls = NonNullable<ListenerInput['tls']>;
type Version = NonNullable<Tls['minVersion']>;

const VERSIONS: readonly Version[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

type Found = { readonly server: Scope; readonly fallback: boolean };

/** The `ssl_*` of the servers of a listener; settings of the handshake are those of the first. */
export function listenerTls(
  servers: readonly Scope[],
  fallback: Scope,
  http2: boolean | undefined,
  pathOf: (file: string) => string,
  findings: Findings,
): Tls {
  const ordered = [fallback, ...servers.filter((one) => one !== fallback)];
  const certificates = ordered.flatMap((server) => certificatesOf(server, pathOf, findings));
  const unique = new Map(certificates.map((one) => [`${one.cert} ${one.key}`, one]));
  const rejects = fallback.find('ssl_reject_handshake');
  findings.translated(rejects);
  const ciphers = fallback.find('ssl_ciphers');
  const alpn = http2 === false ? { alpn: ['http/1.1' as const] } : {};
  for (const one of ordered)
    judgeOthers({ server: one, fallback: one === fallback }, fallback, findings);
  return {
    certificates: [...unique.values()],
    ...versionsOf(fallback, findings),
    ...(ciphers?.args[0] === undefined ? {} : { ciphers: ciphers.args[0] }),
    ...alpn,
    ...(rejects?.args[0] === 'on' ? { strictSni: true } : {}),
    ...clientAuthOf(fallback, pathOf, findings),
  };
}

function certificatesOf(server: Scope, pathOf: (file: string) => string, findings: Findings) {
  const certs = server.all('ssl_certificate');
  const keys = server.all('ssl_certificate_key');
  return certs.flatMap((one, index) => {
    const key = keys[index];
    const files = [one.args[0] ?? '', key?.args[0] ?? ''];
    if (!key || files.some((file) => file.includes('$') || /^(data|engine|store):/.test(file))) {
      findings.unsupported(one, 'a certificate is a file with a key in another file');
      findings.unsupported(key, 'a certificate is a file with a key in another file');
      return [];
    }
    findings.translated(one, key);
    const [cert = '', secret = ''] = files;
    return [{ cert: pathOf(cert), key: pathOf(secret) }];
  });
}

function versionsOf(server: Scope, findings: Findings): Pick<Tls, 'minVersion' | 'maxVersion'> {
  const protocols = server.find('ssl_protocols');
  const given = VERSIONS.filter((version) => protocols?.args.includes(version));
  const [oldest, newest] = [given[0], given.at(-1)];
  if (protocols?.args.some((one) => /^SSL/.test(one))) {
    findings.approximated(protocols, 'versions before TLS 1.0 are not spoken');
  } else findings.translated(protocols);
  if (oldest === undefined) return {};
  return {
    ...(oldest === 'TLSv1.2' ? {} : { minVersion: oldest }),
    ...(newest === 'TLSv1.2' ? { maxVersion: newest } : {}),
  };
}

function clientAuthOf(
  server: Scope,
  pathOf: (file: string) => string,
  findings: Findings,
): Pick<Tls, 'clientAuth'> {
  const verify = server.find('ssl_verify_client');
  const ca = server.find('ssl_client_certificate');
  const crl = server.find('ssl_crl');
  const how = verify?.args[0] ?? 'off';
  if (how === 'off') return {};
  if (!ca?.args[0]) {
    findings.unsupported(verify, 'there is no ssl_client_certificate to verify with');
    return {};
  }
  findings.translated(ca, crl);
  if (how === 'on')
    findings.approximated(verify, 'who has none is refused in the handshake, not by 400');
  else if (how === 'optional') findings.translated(verify);
  else findings.approximated(verify, 'certificates are verified, but nobody is refused for them');
  return {
    clientAuth: {
      ca: pathOf(ca.args[0]),
      ...(crl?.args[0] === undefined ? {} : { crl: pathOf(crl.args[0]) }),
      ...(how === 'on' ? {} : { mode: 'optional' as const }),
    },
  };
}

/** Settings of servers that are not the first, which the handshake cannot have. */
function judgeOthers({ server, fallback }: Found, first: Scope, findings: Findings): void {
  for (const name of ['ssl_protocols', 'ssl_ciphers', 'ssl_verify_client']) {
    const own: Directive | undefined = server.find(name);
    const same = own?.args.join(' ') === first.find(name)?.args.join(' ');
    if (fallback || same) {
      if (name === 'ssl_ciphers') findings.translated(own);
    } else if (name === 'ssl_verify_client') {
      findings.unsupported(own, 'the default server of the address decides for all');
    } else findings.approximated(own, 'the default server of the address decides for all');
  }
}
