import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { errorText } from '../base/errors.ts';
import { checkBundle, checkPair } from '../base/pem.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ListenerTls } from '../model/listener.ts';
import type { ConfigIo } from './io.ts';

type Report = (path: PropertyKey[], message: string) => void;

const DAY_MS = 86_400_000;
/** So long before its end a certificate is warned of. */
const NOTICE_DAYS = 7;

/** Reports pairs that cannot be used, and warns of those outside their time. */
export function checkCertificates(
  config: GatewayConfig,
  io: ConfigIo,
  report: Report,
  warn: Report,
): void {
  for (const [name, { tls }] of Object.entries(config.listeners)) {
    if (tls) checkSettings(tls, ['listeners', name, 'tls'], report);
    const trust = ['listeners', name, 'tls', 'clientAuth'];
    if (tls?.clientAuth) checkTrust(tls.clientAuth, io, trust, report);
    for (const [index, pair] of (tls?.certificates ?? []).entries()) {
      const [cert, key] = [io.readFile(pair.cert), io.readFile(pair.key)];
      if (cert === undefined || key === undefined) continue;
      const at = ['listeners', name, 'tls', 'certificates', index];
      const wrong = checkPair(cert, key);
      if (wrong) report([...at, wrong.key], wrong.message);
      else if (io.wallMs !== undefined) warnOfTime(cert, io.wallMs(), [...at, 'cert'], warn);
    }
  }
  for (const [name, { tls }] of Object.entries(config.services)) {
    if (tls) checkTrust({ ca: tls.ca }, io, ['services', name, 'tls'], report);
  }
}

/** Asks the TLS library itself: it knows which ciphers and versions there are. */
function checkSettings(settings: ListenerTls, path: PropertyKey[], report: Report): void {
  const { minVersion, maxVersion, ciphers } = settings;
  // The names are in the order of the versions.
  if (minVersion > maxVersion) {
    report([...path, 'minVersion'], `${minVersion} is above maxVersion ${maxVersion}`);
  }
  if (ciphers === undefined) return;
  try {
    createSecureContext({ ciphers });
  } catch {
    report([...path, 'ciphers'], `"${ciphers}" names no cipher that is known`);
  }
}

/** Reports authorities and revocation lists that cannot be read. */
function checkTrust(
  { ca, crl }: { ca?: string | undefined; crl?: string | undefined },
  io: ConfigIo,
  path: PropertyKey[],
  report: Report,
): void {
  for (const [key, file] of Object.entries({ ca, crl })) {
    const text = file === undefined ? undefined : io.readFile(file);
    if (text === undefined) continue;
    try {
      if (key === 'ca') checkBundle(text);
      else createSecureContext({ crl: text });
    } catch (error) {
      const what = key === 'ca' ? 'certificates' : 'revocation list';
      report([...path, key], `is no PEM file with ${what}: ${errorText(error)}`);
    }
  }
}

function warnOfTime(cert: string, now: number, path: PropertyKey[], warn: Report): void {
  const { validFrom, validTo } = new X509Certificate(cert);
  const left = Date.parse(validTo) - now;
  if (left <= 0) warn(path, `the certificate has expired on ${validTo}`);
  else if (Date.parse(validFrom) > now) {
    warn(path, `the certificate is not valid before ${validFrom}`);
  } else if (left < NOTICE_DAYS * DAY_MS) {
    warn(path, `the certificate expires soon, on ${validTo}`);
  }
}
