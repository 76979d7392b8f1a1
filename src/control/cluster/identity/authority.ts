import { createHash, createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import type * as X509 from '@peculiar/x509';
import { invalid } from '../../../base/faults.ts';
import type { NodeRole } from '../../../model/cluster.ts';

/** A certificate that signs, with its key; both PEM. */
export type Root = { readonly certificate: string; readonly key: string };

/** Who a node is, as its certificate says. Times in ms since 1970. */
export type NodeIdentity = {
  readonly nodeId: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  readonly notBefore: number;
  readonly notAfter: number;
};

/** What a certificate is to say; the node's request contributes its key and nothing else. */
export type IssueOrder = Pick<NodeIdentity, 'nodeId' | 'role' | 'clusterId'> & {
  readonly request: string;
  readonly lifeMs: number;
  readonly now: number;
};

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const ROOT_LIFE_MS = 20 * 365.25 * 24 * 3600 * 1000;
/** Certificates hold from before they are made, for nodes whose clocks are behind. */
export const BACKDATED_MS = 3600_000;
const SERIAL_BYTES = 16;
const MAX_REQUEST = 16 * 1024;
const ROOT_NAME = 'CN=swarm-ca';

let library: Promise<typeof X509> | undefined;

/** Loaded when a cluster needs it: a daemon without one starts faster. */
function x509(): Promise<typeof X509> {
  library ??= (async () => {
    await import('reflect-metadata');
    const loaded = await import('@peculiar/x509');
    loaded.cryptoProvider.set(webcrypto);
    return loaded;
  })();
  return library;
}

function serial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  // A positive integer of full length. Source: RFC 5280, 4.1.2.2.
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const options = { key: der, format: 'der', type: 'pkcs8' } as const;
  return createPrivateKey(options).export({ format: 'pem', type: 'pkcs8' }).toString();
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw invalid('the key of the CA must be of the curve P-256');
  }
  const der = key.export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, true, ['sign']);
}

function rootExtensions({
  BasicConstraintsExtension,
  KeyUsagesExtension,
  KeyUsageFlags,
}: typeof X509) {
  return [
    new BasicConstraintsExtension(true, 1, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ];
}

/** A new root of a cluster, for 20 years. */
export async function createRoot(now: number): Promise<Root> {
  const lib = await x509();
  const keys = await newKeys();
  const certificate = await lib.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    // Two roots must not look alike to those who build chains by name.
    name: `${ROOT_NAME}, OU=${randomBytes(4).toString('hex')}`,
    notBefore: new Date(now - BACKDATED_MS),
    notAfter: new Date(now + ROOT_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      ...rootExtensions(lib),
      await lib.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await keyPem(keys.privateKey) };
}

/** An operator's own root. Throws when it cannot serve. */
export function checkRoot({ certificate, key }: Root): void {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(certificate);
  } catch {
    throw invalid('the CA certificate is no certificate in PEM');
  }
  if (!parsed.ca) throw invalid('the CA certificate may not sign others');
  if (!parsed.checkPrivateKey(createPrivateKey(key))) {
    throw invalid('the key does not belong to the CA certificate');
  }
}

/** The new root as the old one vouches for it. */
export async function crossSign(next: Root, by: Root): Promise<string> {
  const lib = await x509();
  const [subject, issuer] = [next, by].map((one) => new lib.X509Certificate(one.certificate));
  if (!subject || !issuer) throw invalid('no certificate to sign');
  const certificate = await lib.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: subject.subject,
    issuer: issuer.subject,
    notBefore: subject.notBefore,
    notAfter: issuer.notAfter,
    signingAlgorithm: ALGORITHM,
    publicKey: subject.publicKey,
    signingKey: await importKey(by.key),
    extensions: [
      ...rootExtensions(lib),
      await lib.SubjectKeyIdentifierExtension.create(subject.publicKey),
    ],
  });
  return pem(certificate);
}

/** A new key with the request that asks for its certificate. */
export async function createRequest(): Promise<{ key: string; request: string }> {
  const lib = await x509();
  const keys = await newKeys();
  const request = await lib.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=node',
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return { key: await keyPem(keys.privateKey), request: `${request.toString('pem')}\n` };
}

/** The key that a request asks a certificate for. Throws on whatever else it was sent. */
async function requestedKey(text: string): Promise<X509.PublicKey> {
  if (text.length > MAX_REQUEST) throw invalid('the certificate request is too long');
  const lib = await x509();
  let request: X509.Pkcs10CertificateRequest;
  let proven: boolean;
  try {
    request = new lib.Pkcs10CertificateRequest(text);
    proven = await request.verify();
  } catch {
    throw invalid('the certificate request cannot be read');
  }
  const { algorithm } = request.publicKey;
  const { namedCurve } = { namedCurve: undefined, ...algorithm };
  if (algorithm.name !== 'ECDSA' || namedCurve !== 'P-256') {
    throw invalid('the certificate request must be for a key of the curve P-256');
  }
  if (!proven) throw invalid('the certificate request is not signed by its own key');
  return request.publicKey;
}

/** A certificate for a node. Only the key is taken from the request. Throws when it has none. */
export async function issue(root: Root, order: IssueOrder): Promise<string> {
  const { nodeId, role, clusterId, lifeMs, now } = order;
  const lib = await x509();
  const issuer = new lib.X509Certificate(root.certificate);
  const { KeyUsageFlags, ExtendedKeyUsage } = lib;
  const certificate = await lib.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${nodeId}, OU=${role}, O=${clusterId}`,
    issuer: issuer.subject,
    notBefore: new Date(now - BACKDATED_MS),
    notAfter: new Date(Math.min(now + lifeMs, issuer.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: await requestedKey(order.request),
    signingKey: await importKey(root.key),
    extensions: [
      new lib.BasicConstraintsExtension(false, undefined, true),
      new lib.KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new lib.ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new lib.SubjectAlternativeNameExtension([{ type: 'dns', value: nodeId }]),
    ],
  });
  return pem(certificate);
}

function pem(certificate: X509.X509Certificate): string {
  return `${certificate.toString('pem')}\n`;
}

function isRole(text: string | undefined): text is NodeRole {
  return text === 'worker' || text === 'manager';
}

/** Who a certificate is for; undefined: for no node. It says nothing of who signed it. */
export function identityOf(certificate: X509Certificate): NodeIdentity | undefined {
  const names = new Map(
    certificate.subject.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const [nodeId, role, clusterId] = [names.get('CN'), names.get('OU'), names.get('O')];
  if (!nodeId || !clusterId || !isRole(role)) return undefined;
  const [notBefore, notAfter] = [certificate.validFrom, certificate.validTo].map(Date.parse);
  return { nodeId, role, clusterId, notBefore: notBefore ?? 0, notAfter: notAfter ?? 0 };
}

/** SHA-256 of a certificate's DER in hex: how roots are told apart. */
export function digestOf(certificate: string | X509Certificate): string {
  const { raw } = typeof certificate === 'string' ? new X509Certificate(certificate) : certificate;
  return createHash('sha256').update(raw).digest('hex');
}

/** Which of these roots signed a certificate. */
export function issuerOf(
  certificate: X509Certificate,
  roots: readonly string[],
): X509Certificate | undefined {
  return roots
    .map((text) => new X509Certificate(text))
    .find((root) => certificate.checkIssued(root) && certificate.verify(root.publicKey));
}

/** When to ask for the next certificate: somewhere in 50 to 80 % of its life; `chance` in [0, 1). */
export function renewalTime({ notBefore, notAfter }: NodeIdentity, chance: number): number {
  const [from, life] = [notBefore + BACKDATED_MS, notAfter - notBefore - BACKDATED_MS];
  return from + life * (0.5 + 0.3 * chance);
}

/** Subject and key of a certificate that signs, each DER in base 64. */
export async function signerOf(text: string): Promise<{ subject: string; publicKey: string }> {
  const lib = await x509();
  const { subjectName, publicKey } = new lib.X509Certificate(text);
  return {
    subject: Buffer.from(subjectName.toArrayBuffer()).toString('base64'),
    publicKey: Buffer.from(publicKey.rawData).toString('base64'),
  };
}
