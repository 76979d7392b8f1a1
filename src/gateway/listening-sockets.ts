import { type Bind, formatBind } from '../model/address.ts';
import type { Listener } from '../model/listener.ts';

/** One socket that a listener needs. */
export type ListeningSocket = {
  /** Listener, transport and address in one text: a socket never passes between listeners. */
  readonly key: string;
  readonly bind: Bind;
  readonly transport: 'stream' | 'datagram';
};

/** The sockets that a listener needs, as supervisor and workers name them to each other. */
export function listeningSockets(name: string, { bind, protocol }: Listener): ListeningSocket[] {
  const transport = protocol === 'udp' ? 'datagram' : 'stream';
  return bind.map((one) => ({
    key: `${name} ${transport} ${formatBind(one)}${modeOf(one)}`,
    bind: one,
    transport,
  }));
}

/** A socket file of another mode is another socket. */
function modeOf(bind: Bind): string {
  return bind.kind === 'unix' && bind.mode !== undefined ? ` ${bind.mode}` : '';
}
