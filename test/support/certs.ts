import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

const CERTIFICATES: Readonly<Record<string, readonly string[]>> = {
  'example.com': ['subjectAltName=DNS:example.com,DNS:www.example.com'],
  'wild.example.org': ['subjectAltName=DNS:*.example.org'],
  'partners-ca': [],
  'upstream-ca': [],
};

/**
 * Writes self-signed `NAME.pem` and `NAME.key` for every certificate that the examples name.
 * Needs the program `openssl`.
 */
export function makeCertificates(dir: string): void {
  mkdirSync(dir, { recursive: true });
  for (const [name, extensions] of Object.entries(CERTIFICATES)) {
    const fixed = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2';
    const files = ['-keyout', join(dir, `${name}.key`), '-out', join(dir, `${name}.pem`)];
    const added = extensions.flatMap((extension) => ['-addext', extension]);
    const args = [...fixed.split(' '), '-subj', `/CN=${name}`, ...files, ...added];
    execFileSync('openssl', args, { stdio: 'ignore' });
  }
}

/** Why certificates cannot be made here, for a test's `skip`; false when they can. */
export function noCertificates(): string | false {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'needs openssl';
  }
}
