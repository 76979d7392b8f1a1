import type { PeerAddress, StreamConnection } from '../../net/stream-connection.ts';
import { readClientHello, UNRECOGNIZED_NAME_ALERT } from '../../wire/client-hello.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import type { TcpSessions } from './tcp-session.ts';

/** Connections of a `tls-passthrough` listener: routed by the ClientHello, which stays untouched. */
export class SniSessions {
  readonly #listener: ListenerRuntime;
  readonly #tcp: TcpSessions;

  constructor(listener: ListenerRuntime, tcp: TcpSessions) {
    this.#listener = listener;
    this.#tcp = tcp;
  }

  /** Reads the ClientHello within `timeouts.handshake`, then forwards from the first byte. */
  serve(connection: StreamConnection): void {
    const { socket } = connection;
    let bytes: Buffer = Buffer.alloc(0);
    const stop = () => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', onGone).off('error', onGone).off('close', stop);
    };
    const refuse = (reason: string, client?: PeerAddress) => {
      stop();
      this.#listener.refused(reason, client);
      socket.on('error', () => {});
      socket.destroy();
    };
    // Whoever only looks whether the port is open is nobody's session.
    const onGone = () => refuse('no-client-hello');
    const late = () => refuse('handshake-timeout', connection.client);
    const timer = setTimeout(late, this.#listener.timeouts.handshake);
    const onData = (data: Buffer) => {
      bytes = Buffer.concat([bytes, data]);
      const hello = readClientHello(bytes);
      if (hello.kind === 'need-more') return;
      if (hello.kind === 'error') {
        refuse(hello.reason, connection.client);
        return;
      }
      stop();
      socket.pause();
      socket.unshift(bytes);
      this.#forward(connection, hello.sni);
    };
    socket.on('data', onData).on('end', onGone).on('error', onGone).on('close', stop);
    socket.resume();
  }

  #forward(connection: StreamConnection, sni: string | undefined): void {
    if (this.#tcp.knows(connection, sni)) {
      this.#tcp.serve(connection, sni);
      return;
    }
    const { socket } = connection;
    this.#listener.refused('unrecognized-name', connection.client);
    socket.on('error', () => {});
    socket.end(UNRECOGNIZED_NAME_ALERT, () => socket.destroy());
  }
}
