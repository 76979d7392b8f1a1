import type { Socket } from 'node:net';
import type { EndpointAddress } from '../../model/address.ts';
import { dial, type UpstreamTls } from '../dial.ts';
import { dialFailure, failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';

const MAX_ANSWER = 65_536;

/** How a check talks on a connection. */
export type StreamCheck = {
  readonly timeoutMs: number;
  readonly port: number | undefined;
  readonly tls: UpstreamTls | undefined;
  readonly preamble: Buffer | undefined;
  /** Sent after connecting. */
  readonly send: Buffer | undefined;
  /** Judges what was received so far; undefined wants more. Without it, connecting is enough. */
  readonly judge: ((received: Buffer, ended: boolean) => ProbeResult | undefined) | undefined;
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
    const { send, judge } = this.#check;
    socket.on('error', () => {});
    if (!judge) return Promise.resolve(passedProbe(this.#check.tls ? 'L6OK' : 'L4OK'));
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(failedProbe('no answer in time', 'L7TOUT')), leftMs);
      const settle = (result: ProbeResult | undefined) => {
        if (!result) return;
        clearTimeout(timer);
        resolve(result);
      };
      let received: Buffer = Buffer.alloc(0);
      socket.on('data', (data: Buffer) => {
        received = Buffer.concat([received, data]);
        const large = received.length > MAX_ANSWER;
        settle(judge(received, large) ?? (large ? failedProbe('answer too large') : undefined));
      });
      const ended = () => settle(judge(received, true) ?? failedProbe('closed without an answer'));
      socket.on('end', ended);
      socket.on('close', ended);
      if (send) socket.write(send);
    });
  }
}
