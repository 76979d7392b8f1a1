import type { Socket } from 'node:net';
import type { EndpointAddress } from '../../model/address.ts';
import { dial, type UpstreamTls } from '../dial.ts';
import { dialFailure, failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';

const MAX_ANSWER = 65_536;

/** One turn of a conversation. */
export type Exchange = {
  readonly send: Buffer | undefined;
  /** Judges what was received since it was sent; undefined wants more. */
  readonly judge: (received: Buffer, ended: boolean) => ProbeResult | undefined;
};

/** How a check talks on a connection. */
export type StreamCheck = {
  readonly timeoutMs: number;
  readonly port: number | undefined;
  readonly tls: UpstreamTls | undefined;
  readonly preamble: Buffer | undefined;
  /** Sent after connecting. */
  readonly send: Buffer | undefined;
  /** Judges what was received so far; undefined wants more. Without it, connecting is enough. */
  readonly judge: Exchange['judge'] | undefined;
  /** What follows when the first turn has passed, each after the one before. */
  readonly more?: readonly Exchange[] | undefined;
};

/** A check over TCP or TLS: connect, send, judge the answer. Reads at most 64 KiB. */
export class StreamProbe implements Probe {
  readonly #check: StreamCheck;

  constructor(check: StreamCheck) {
    this.#check = check;
  }

  run(address: EndpointAddress): Promise<ProbeResult> {
    const { timeoutMs, port, tls, preamble } = this.#check;
    const target = 'path' in address || port === undefined ? address : { ...address, port };
    return new Promise((resolve) => {
      const startedAt = performance.now();
      dial({ address: target, connectMs: timeoutMs, tls, preamble }, (result) => {
        if (typeof result === 'string') {
          resolve(dialFailure(result));
          return;
        }
        const left = Math.max(1, timeoutMs - (performance.now() - startedAt));
        this.#talk(result, left).then((outcome) => {
          result.destroy();
          resolve(outcome);
        });
      });
    });
  }

  #talk(socket: Socket, leftMs: number): Promise<ProbeResult> {
    const { send, judge, more = [] } = this.#check;
    socket.on('error', () => {});
    if (!judge) return Promise.resolve(passedProbe(this.#check.tls ? 'L6OK' : 'L4OK'));
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(failedProbe('no answer in time', 'L7TOUT')), leftMs);
      let received: Buffer = Buffer.alloc(0);
      const left = [...more];
      let turn: Exchange['judge'] = judge;
      const settle = (result: ProbeResult | undefined) => {
        if (!result) return;
        const next = result.ok ? left.shift() : undefined;
        if (next) {
          received = Buffer.alloc(0);
          turn = next.judge;
          if (next.send) socket.write(next.send);
          return;
        }
        clearTimeout(timer);
        resolve(result);
      };
      socket.on('data', (data: Buffer) => {
        received = Buffer.concat([received, data]);
        const large = received.length > MAX_ANSWER;
        settle(turn(received, large) ?? (large ? failedProbe('answer too large') : undefined));
      });
      const ended = () => settle(turn(received, true) ?? failedProbe('closed without an answer'));
      socket.on('end', ended);
      socket.on('close', ended);
      if (send) socket.write(send);
    });
  }
}
