import { randomBytes } from 'node:crypto';
import type tls from 'node:tls';

const KEY_BYTES = 48;
const NAME_BYTES = 16;
const IV_BYTES = 16;
const NOTHING = Buffer.alloc(16);

// Answers of a ticket key callback. Source: SSL_CTX_set_tlsext_ticket_key_evp_cb(3).
const UNKNOWN = 0;
const USE = 1;
const USE_AND_RENEW = 2;

type KeyAnswer = [number, Buffer, Buffer, Buffer?, Buffer?];
type TicketContext = {
  enableTicketKeyCallback?(): void;
  onticketkeycallback?: (name: Buffer, iv: Buffer, sealing: boolean) => KeyAnswer;
};

/** A new key: name, HMAC and AES parts in 48 bytes, base64. */
export function newTicketKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/**
 * The session ticket keys of a worker, newest first: new tickets are sealed with the first, those of
 * the others are opened and renewed. Source: RFC 5077 section 5.5.
 */
export class TicketKeys {
  #keys: Buffer[] = [];

  /** Takes keys as `newTicketKey` makes them. */
  set(keys: readonly string[]): void {
    this.#keys = keys.map((key) => Buffer.from(key, 'base64'));
  }

  /** The keys as `set` takes them. */
  get texts(): string[] {
    return this.#keys.map((key) => key.toString('base64'));
  }

  /** Makes a server use these keys, those set later included. */
  attach(server: tls.Server): void {
    // Node's public setTicketKeys knows one key, with which a rotation voids every ticket. The
    // callback below it is that of OpenSSL; the server's own context serves for all certificates.
    // exempt(as): neither has types.
    const context = (server as unknown as { _sharedCreds?: { context: TicketContext } })
      ._sharedCreds?.context;
    if (context?.enableTicketKeyCallback) {
      context.onticketkeycallback = (name, _iv, sealing) =>
        sealing ? this.#seal() : this.#open(name);
      context.enableTicketKeyCallback();
    } else if (this.#keys[0]) server.setTicketKeys(this.#keys[0]);
  }

  #seal(): KeyAnswer {
    const [key] = this.#keys;
    if (!key) return [UNKNOWN, NOTHING, NOTHING, NOTHING, NOTHING];
    return [USE, hmacOf(key), aesOf(key), nameOf(key), randomBytes(IV_BYTES)];
  }

  #open(name: Buffer): KeyAnswer {
    const at = this.#keys.findIndex((key) => nameOf(key).equals(name));
    const key = this.#keys[at];
    if (!key) return [UNKNOWN, NOTHING, NOTHING];
    return [at === 0 ? USE : USE_AND_RENEW, hmacOf(key), aesOf(key)];
  }
}

const nameOf = (key: Buffer) => key.subarray(0, NAME_BYTES);
const hmacOf = (key: Buffer) => key.subarray(NAME_BYTES, 32);
const aesOf = (key: Buffer) => key.subarray(32, KEY_BYTES);
