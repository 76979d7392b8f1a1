import { constants, createHash, X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { ListenerTls } from '../model/listener.ts';
import { readClientHello, UNRECOGNIZED_NAME_ALERT } from '../wire/client-hello.ts';
import type { TlsInfo } from './stream-connection.ts';
import type { TicketKeys } from './ticket-keys.ts';

/** A finished handshake. */
export type SecureSocket = { readonly socket: tls.TLSSocket; readonly info: TlsInfo };

/** What OpenSSL calls a first record that is none: most often plain HTTP. */
const NO_TLS = new Set([
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_HTTPS_PROXY_REQUEST',
  'ERR_SSL_WRONG_VERSION_NUMBER',
]);
const SPEAK_TLS = 'This port speaks TLS: use https.\n';
const PLAIN_ANSWER = [
  'HTTP/1.1 400 Bad Request',
  'content-type: text/plain',
  `content-length: ${SPEAK_TLS.length}`,
  'connection: close',
  '',
  SPEAK_TLS,
].join('\r\n');

type Entry = { context: tls.SecureContext; names: string[]; notAfter: number };

/** Terminates TLS on accepted sockets: certificates by SNI, swapped without a new listener. */
export class TlsTerminator {
  #server: tls.Server;
  readonly #waiting = new WeakMap<Socket, (result: SecureSocket | string) => void>();
  #entries: Entry[] = [];
  #strict = false;
  readonly #tickets: TicketKeys;
  #config: ListenerTls;
  #file: (path: string) => string;

  /** Throws when no certificate can be used. */
  constructor(
    config: ListenerTls,
    alpn: readonly string[],
    file: (path: string) => string,
    tickets: TicketKeys,
  ) {
    this.#tickets = tickets;
    this.#config = config;
    this.#file = file;
    this.#load();
    this.#server = this.#createServer(alpn);
  }

  /** Unix seconds at which each certificate expires. */
  get expiries(): number[] {
    return this.#entries.map(({ notAfter }) => notAfter);
  }

  /**
   * Handshakes on a socket; `done` gets the secure socket or a reason, once. Plain HTTP is answered
   * with 400, an unknown name, or none, under `strictSni` with an alert.
   */
  handshake(socket: Socket, done: (result: SecureSocket | string) => void): void {
    if (this.#strict) this.#judgeName(socket, done);
    else this.#begin(socket, done);
  }

  /**
   * Reads the first message before OpenSSL does. Without need it costs 8 KiB for as long as the
   * connection lives: what is put back fills the small buffer that Node reads into otherwise.
   */
  #judgeName(socket: Socket, done: (result: SecureSocket | string) => void): void {
    let bytes: Buffer = Buffer.alloc(0);
    const onGone = () => done('ECONNRESET');
    const onData = (data: Buffer) => {
      bytes = Buffer.concat([bytes, data]);
      const hello = readClientHello(bytes);
      if (hello.kind === 'need-more') return;
      socket.pause();
      socket.off('data', onData).off('end', onGone).off('error', onGone);
      if (hello.kind === 'error' || (hello.sni !== undefined && this.#find(hello.sni))) {
        socket.unshift(bytes);
        this.#begin(socket, done);
        return;
      }
      // Node itself sends no alert for an unknown name.
      answerAndClose(socket, UNRECOGNIZED_NAME_ALERT);
      done('UNRECOGNIZED_NAME');
    };
    socket.on('data', onData).once('end', onGone).once('error', onGone);
    socket.resume();
  }

  #begin(socket: Socket, done: (result: SecureSocket | string) => void): void {
    this.#waiting.set(socket, done);
    // Who ends its side before the handshake is done is gone; afterwards it may still want to hear.
    socket.allowHalfOpen = false;
    this.#server.emit('connection', socket);
  }

  /**
   * Takes new settings or new contents of files, for new connections. Throws, with the old ones in
   * force, on bad ones.
   */
  update(config: ListenerTls, alpn: readonly string[], file: (path: string) => string): void {
    const before = { config: this.#config, file: this.#file };
    this.#config = config;
    this.#file = file;
    try {
      this.#load();
      this.#server = this.#createServer(alpn);
    } catch (error) {
      this.#config = before.config;
      this.#file = before.file;
      throw error;
    }
  }

  #createServer(alpn: readonly string[]): tls.Server {
    const { clientAuth } = this.#config;
    const server = tls.createServer({
      ...this.#common(),
      ...this.#pair(0),
      ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
      requestCert: clientAuth !== undefined,
      rejectUnauthorized: clientAuth?.mode === 'require',
      SNICallback: (name, done) => this.#choose(name, done),
    });
    this.#tickets.attach(server);
    server.on('secureConnection', (socket) => {
      socket.allowHalfOpen = true;
      this.#settle(socket, { socket, info: this.#info(socket) });
    });
    server.on('tlsClientError', (error, socket) => {
      const code = 'code' in error ? String(error.code) : 'handshake-failed';
      const raw = NO_TLS.has(code) ? rawOf(socket) : undefined;
      if (raw) {
        answerAndClose(raw, PLAIN_ANSWER);
        this.#settle(socket, 'HTTP_REQUEST');
      } else this.#settle(socket, socket.authorizationError ? 'CLIENT_CERT' : code);
    });
    return server;
  }

  #load(): void {
    const entries = this.#config.certificates.map((_, index) => {
      const pair = this.#pair(index);
      const leaf = new X509Certificate(pair.cert);
      return {
        context: tls.createSecureContext({
          ...this.#common(),
          ...pair,
        }),
        names: namesOf(leaf),
        notAfter: Date.parse(leaf.validTo) / 1000,
      };
    });
    this.#entries = entries;
    this.#strict = this.#config.strictSni;
  }

  #pair(index: number): { cert: string; key: string } {
    const files = this.#config.certificates[index];
    return { cert: this.#file(files?.cert ?? ''), key: this.#file(files?.key ?? '') };
  }

  #common(): tls.SecureContextOptions {
    const { minVersion, maxVersion, ciphers, clientAuth } = this.#config;
    return {
      minVersion,
      maxVersion,
      honorCipherOrder: true,
      // A client that could renegotiate could have the handshake's work done again and again.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      sessionIdContext: this.#sessionContext(),
      ...(ciphers === undefined ? {} : { ciphers }),
      ...(clientAuth === undefined ? {} : { ca: this.#file(clientAuth.ca) }),
      ...(clientAuth?.crl === undefined ? {} : { crl: this.#file(clientAuth.crl) }),
    };
  }

  /** The same in all workers; another where clients are judged by other rules. */
  #sessionContext(): string {
    const { clientAuth } = this.#config;
    const rules = [clientAuth?.mode, clientAuth?.ca, clientAuth?.crl].map((part, index) =>
      part === undefined || index === 0 ? part : this.#file(part),
    );
    return createHash('sha256').update(JSON.stringify(rules)).digest('hex').slice(0, 32);
  }

  #find(name: string): Entry | undefined {
    return (
      this.#entries.find(({ names }) => names.includes(name)) ??
      this.#entries.find(({ names }) => coversName(names, name))
    );
  }

  /** Exact name, then wildcard, then the first certificate. Source: RFC 6066 section 3. */
  #choose(asked: string, done: (error: Error | null, context?: tls.SecureContext) => void): void {
    const found = this.#find(asked.toLowerCase()) ?? (this.#strict ? undefined : this.#entries[0]);
    if (found) done(null, found.context);
    else done(new Error('unrecognized name'));
  }

  #info(socket: tls.TLSSocket): TlsInfo {
    // exempt(as): the servername property is missing from the types of a server's socket.
    const name = (socket as unknown as { servername?: string | false }).servername;
    const serverName = name ? name.toLowerCase() : undefined;
    const entry = (serverName && this.#find(serverName)) || this.#entries[0];
    return infoOf(socket, serverName, entry?.names ?? []);
  }

  #settle(socket: tls.TLSSocket, result: SecureSocket | string): void {
    const raw = rawOf(socket);
    const waiting = raw && this.#waiting.get(raw);
    if (!raw || !waiting) {
      socket.destroy();
      return;
    }
    this.#waiting.delete(raw);
    waiting(result);
  }
}

/** The socket that a TLS socket was made on, to which Node has no public way. */
function rawOf(socket: tls.TLSSocket): Socket | undefined {
  return '_parent' in socket ? (socket._parent as Socket) : undefined;
}

function answerAndClose(socket: Socket, answer: Buffer | string): void {
  socket.on('error', () => {});
  socket.end(answer, () => socket.destroy());
}

function namesOf(certificate: X509Certificate): string[] {
  const alternative = certificate.subjectAltName ?? '';
  const names = alternative
    .split(', ')
    .flatMap((entry) => (entry.startsWith('DNS:') ? [entry.slice(4).toLowerCase()] : []));
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  return names.length > 0 ? names : common ? [common.toLowerCase()] : [];
}

/** Whether a certificate's names stand for `name`, itself or by a wildcard. Source: RFC 6125. */
export function coversName(names: readonly string[], name: string): boolean {
  return names.includes(name) || names.includes(`*${name.slice(name.indexOf('.'))}`);
}

function infoOf(
  socket: tls.TLSSocket,
  serverName: string | undefined,
  certificateNames: readonly string[],
): TlsInfo {
  const peer = socket.getPeerX509Certificate();
  return {
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher().name,
    serverName,
    certificateNames,
    alpn:
      socket.alpnProtocol === 'h2' || socket.alpnProtocol === 'http/1.1'
        ? socket.alpnProtocol
        : undefined,
    client: peer && {
      verified: socket.authorized,
      subject: peer.subject.replaceAll('\n', ','),
      fingerprint: peer.fingerprint256,
      pem: peer.toString(),
    },
  };
}
