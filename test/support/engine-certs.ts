import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Files of a certificate authority, of a server and of a client that it signed. */
export type EngineCertificates = {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCert: string;
  readonly clientKey: string;
};

/** Makes them with `openssl`; the server's is for one address. */
export function makeCertificates(folder: string, address: string): EngineCertificates {
  const path = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    ...['req', '-x509', ...curve, '-days', '2', '-subj', '/CN=lab authority'],
    ...['-keyout', path('ca.key'), '-out', path('ca.pem')],
  );
  const sign = (name: string, extension: string) => {
    const request = ['req', ...curve, '-subj', `/CN=${name}`];
    openssl(...request, '-keyout', path(`${name}.key`), '-out', path(`${name}.csr`));
    writeFileSync(path(`${name}.ext`), extension);
    openssl(
      ...['x509', '-req', '-days', '2', '-in', path(`${name}.csr`), '-out', path(`${name}.pem`)],
      ...['-CA', path('ca.pem'), '-CAkey', path('ca.key'), '-CAcreateserial'],
      ...['-extfile', path(`${name}.ext`)],
    );
  };
  sign('server', `subjectAltName=IP:${address}\nextendedKeyUsage=serverAuth\n`);
  sign('client', 'extendedKeyUsage=clientAuth\n');
  return {
    ca: path('ca.pem'),
    cert: path('server.pem'),
    key: path('server.key'),
    clientCert: path('client.pem'),
    clientKey: path('client.key'),
  };
}
