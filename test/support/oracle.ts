import http from 'node:http';
import net from 'node:net';

/** One request as Node's strict parser read it to its end. */
export type Seen = { method: string; url: string; body: string };

/** Messages that were given up half-way are no ambiguity. */
const UNFINISHED = 'HPE_INVALID_EOF_STATE';
/** Methods that Node does not know are forwarded all the same; it reads nothing behind one. */
const UNKNOWN_METHOD = 'HPE_INVALID_METHOD';

/**
 * An HTTP server that notes every whole request, every parser's error, and the raw bytes that the
 * latest connections brought.
 */
export class Oracle {
  seen: Seen[] = [];
  errors: string[] = [];
  /** Whether it reads no further: behind an unknown method, or a wish to upgrade that it ignores. */
  stopped = false;
  raw = '';
  readonly #http: http.Server;
  readonly #server: net.Server;

  constructor() {
    this.#http = http.createServer({ requireHostHeader: false }, (request, response) => {
      if (request.headers.upgrade !== undefined) this.stopped = true;
      const parts: Buffer[] = [];
      request.on('data', (chunk: Buffer) => parts.push(chunk));
      request.on('error', () => {});
      request.on('end', () => {
        const { method = '', url = '' } = request;
        this.seen.push({ method, url, body: Buffer.concat(parts).toString('latin1') });
        response.end('origin');
      });
    });
    this.#http.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const { code = '' } = error;
      if (code === UNKNOWN_METHOD) this.stopped = true;
      else if (code.startsWith('HPE_') && code !== UNFINISHED) this.errors.push(code);
      socket.destroy();
    });
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.#http.emit('connection', socket);
      // After the server: it would otherwise read the socket without anybody seeing it.
      socket.on('data', (data) => {
        this.raw += data.toString('latin1');
      });
    });
  }

  async start(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Forgets what it has seen. */
  clear(): void {
    this.seen = [];
    this.errors = [];
    this.stopped = false;
    this.raw = '';
  }

  stop(): void {
    this.#server.close();
    this.#http.closeAllConnections();
  }
}
