import { X509Certificate } from 'node:crypto';

/** Throws unless a text is one or more PEM certificates, each of them whole. */
export function checkBundle(text: string): void {
  const parts = text
    .split(/(?=-----BEGIN CERTIFICATE-----)/)
    .filter((part) => part.startsWith('-----BEGIN CERTIFICATE-----'));
  if (parts.length === 0) throw new Error('there is no PEM certificate in it');
  for (const part of parts) new X509Certificate(part);
}
