import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** For a test's `skip`. */
export const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'needs openssl';

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Authorities and certificates made by `openssl` in a directory of their own. */
export class Pki {
  readonly directory = mkdtempSync(join(tmpdir(), 'sluice-certs-'));

  openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.directory, stdio: ['ignore', 'ignore', 'pipe'] });
  }

  authority(name: string): void {
    const out = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    this.openssl('req', '-x509', ...NEW_KEY, ...out, '-days', '2', '-subj', `/CN=${name}`);
  }

  /** A certificate for `dns`, signed by an authority, as `file`.pem and `file`.key. */
  certificate(
    file: string,
    dns: string,
    {
      authority = 'ca',
      extensions = '',
      days = '2',
    }: Partial<Record<'authority' | 'extensions' | 'days', string>> = {},
  ): void {
    const request = ['-keyout', `${file}.key`, '-out', `${file}.csr`, '-subj', `/CN=${dns}`];
    this.openssl('req', ...NEW_KEY, ...request);
    writeFileSync(
      join(this.directory, `${file}.ext`),
      `subjectAltName=DNS:${dns}\n${extensions}\n`,
    );
    const signer = ['-CA', `${authority}.pem`, '-CAkey', `${authority}.key`, '-CAcreateserial'];
    const files = ['-in', `${file}.csr`, '-out', `${file}.pem`, '-extfile', `${file}.ext`];
    this.openssl('x509', '-req', ...files, ...signer, '-days', days);
  }

  /** A list of an authority that revokes certificates, as `name`.crl. */
  revocationList(name: string, revoked: readonly string[], authority = 'ca'): void {
    const { directory } = this;
    writeFileSync(join(directory, 'index.txt'), '');
    writeFileSync(
      join(directory, 'ca.conf'),
      '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\n',
    );
    const signer = [
      '-config',
      'ca.conf',
      '-cert',
      `${authority}.pem`,
      '-keyfile',
      `${authority}.key`,
    ];
    for (const file of revoked) this.openssl('ca', ...signer, '-revoke', `${file}.pem`);
    this.openssl('ca', ...signer, '-gencrl', '-out', `${name}.crl`);
  }

  read(file: string): string {
    return readFileSync(join(this.directory, file), 'utf8');
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
