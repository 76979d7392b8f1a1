import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { SluiceError } from '../../../base/errors.ts';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A key for `seal`. */
export function newSealingKey(): Buffer {
  return randomBytes(KEY_BYTES);
}

/** Encrypts; `purpose` has to be the same when it is opened, so that nothing is put elsewhere. */
export function seal(key: Buffer, purpose: string, text: string | Buffer): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(purpose));
  const body = Buffer.concat([cipher.update(text), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64');
}

/** Throws `E_CLUSTER_SEALED` when the key is another one or the text was changed. */
export function unseal(key: Buffer, purpose: string, sealed: string): Buffer {
  const bytes = Buffer.from(sealed, 'base64');
  try {
    const nonce = bytes.subarray(0, NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, key, nonce).setAAD(Buffer.from(purpose));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    const body = decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([body, decipher.final()]);
  } catch (error) {
    const message = `what is sealed as ${purpose} does not open with this key`;
    throw new SluiceError('E_CLUSTER_SEALED', message, { cause: error });
  }
}
