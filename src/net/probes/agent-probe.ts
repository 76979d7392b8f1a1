import type { Socket } from 'node:net';
import type { EndpointAddress } from '../../model/address.ts';
import type { AgentCheck } from '../../model/health-check.ts';
import {
  type AgentReply,
  decodeAgentReply,
  MAX_AGENT_REPLY_BYTES,
} from '../../wire/agent-check.ts';
import { dial } from '../dial.ts';
import { readEscapes } from './escapes.ts';

/** What asking an agent came to; an agent that cannot be reached or understood orders nothing. */
export type AgentAnswer =
  | { readonly kind: 'reply'; readonly reply: AgentReply }
  | { readonly kind: 'unreachable' | 'malformed' };

/** Asks the agent of an endpoint: connect, send what is configured, read one line. */
export class AgentProbe {
  readonly #port: number;
  readonly #timeoutMs: number;
  readonly #send: Buffer | undefined;

  constructor(check: AgentCheck) {
    this.#port = check.port;
    this.#timeoutMs = check.timeout;
    this.#send = check.send === undefined ? undefined : readEscapes(check.send);
  }

  /** Ends within the timeout; never rejects. */
  run(address: EndpointAddress): Promise<AgentAnswer> {
    if ('path' in address) return Promise.resolve({ kind: 'unreachable' });
    const target = { ...address, port: this.#port };
    return new Promise((resolve) => {
      const startedAt = performance.now();
      dial({ address: target, connectMs: this.#timeoutMs }, (socket) => {
        if (typeof socket === 'string') {
          resolve({ kind: 'unreachable' });
          return;
        }
        const left = Math.max(1, this.#timeoutMs - (performance.now() - startedAt));
        this.#read(socket, left).then((answer) => {
          socket.destroy();
          resolve(answer);
        });
      });
    });
  }

  #read(socket: Socket, leftMs: number): Promise<AgentAnswer> {
    return new Promise((resolve) => {
      const settle = (answer: AgentAnswer) => {
        clearTimeout(timer);
        socket.removeAllListeners('data');
        resolve(answer);
      };
      const timer = setTimeout(() => settle({ kind: 'unreachable' }), leftMs);
      let received: Buffer = Buffer.alloc(0);
      const look = (ended: boolean) => {
        const result = decodeAgentReply(received, ended);
        if (result.kind === 'error') settle({ kind: 'malformed' });
        else if (result.kind === 'value') settle({ kind: 'reply', reply: result.reply });
      };
      socket.on('data', (data: Buffer) => {
        const room = MAX_AGENT_REPLY_BYTES + 1 - received.length;
        received = Buffer.concat([received, data.subarray(0, room)]);
        look(false);
      });
      socket.on('end', () => look(true));
      socket.on('error', () => settle({ kind: 'unreachable' }));
      socket.on('close', () => settle({ kind: 'unreachable' }));
      if (this.#send) socket.write(this.#send);
    });
  }
}
