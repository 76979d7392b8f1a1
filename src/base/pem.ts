import { createPrivateKey, X509Certificate } from 'node:crypto';
import { errorText } from './errors.ts';

/** Throws unless a text is one or more PEM certificates, each of them whole. */
export function checkBundle(text: string): void {
  const parts = text
    .split(/(?=-----BEGIN CERTIFICATE-----)/)
    .filter((part) => part.startsWith('-----BEGIN CERTIFICATE-----'));
  if (parts.length === 0) throw new Error('there is no PEM certificate in it');
  for (const part of parts) new X509Certificate(part);
}

/** What is wrong with a certificate and its key, or undefined. */
export function checkPair(
  cert: string,
  key: string,
): { key: 'cert' | 'key'; message: string } | undefined {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (error) {
    return { key: 'cert', message: `is not a PEM certificate: ${errorText(error)}` };
  }
  try {
    const fits = certificate.checkPrivateKey(createPrivateKey(key));
    return fits ? undefined : { key: 'key', message: 'does not belong to the certificate' };
  } catch (error) {
    return { key: 'key', message: `is not a PEM private key: ${errorText(error)}` };
  }
}
