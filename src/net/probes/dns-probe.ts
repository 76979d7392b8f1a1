import { randomInt } from 'node:crypto';
import dgram from 'node:dgram';
import { decode, encode } from 'dns-packet';
import { errorText } from '../../base/errors.ts';
import type { EndpointAddress } from '../../model/address.ts';
import { failedProbe, type Probe, type ProbeResult, passedProbe } from './probe.ts';

/** Asks a DNS server one question over UDP: an answer with NOERROR or NXDOMAIN passes. */
export class DnsProbe implements Probe {
  readonly #name: string;
  readonly #type: 'A' | 'AAAA' | 'TXT' | 'SOA' | 'NS';
  readonly #timeoutMs: number;
  readonly #port: number | undefined;

  constructor(check: {
    name: string;
    recordType: 'A' | 'AAAA' | 'TXT' | 'SOA' | 'NS';
    timeout: number;
    port?: number | undefined;
  }) {
    this.#name = check.name;
    this.#type = check.recordType;
    this.#timeoutMs = check.timeout;
    this.#port = check.port;
  }

  run(address: EndpointAddress): Promise<ProbeResult> {
    if ('path' in address) return Promise.resolve(failedProbe('a unix socket takes no DNS'));
    const id = randomInt(65_536);
    const query = encode({
      type: 'query',
      id,
      flags: 0x0100,
      questions: [{ type: this.#type, name: this.#name }],
    });
    return new Promise((resolve) => {
      const socket = dgram.createSocket(address.host.includes(':') ? 'udp6' : 'udp4');
      const settle = (result: ProbeResult) => {
        clearTimeout(timer);
        socket.removeAllListeners();
        socket.on('error', () => {});
        socket.close();
        resolve(result);
      };
      const timer = setTimeout(
        () => settle(failedProbe('no answer in time', 'L7TOUT')),
        this.#timeoutMs,
      );
      socket.on('error', (error) => settle(failedProbe(errorText(error), 'L4CON')));
      socket.on('message', (data) => {
        const result = judge(data, id);
        if (result) settle(result);
      });
      // A name that does not resolve is told to this callback only.
      socket.connect(this.#port ?? address.port, address.host, (...args: unknown[]) => {
        const [error] = args;
        if (error) settle(failedProbe(errorText(error), 'L4CON'));
        else socket.send(query);
      });
    });
  }
}

function judge(data: Buffer, id: number): ProbeResult | undefined {
  try {
    const answer = decode(data);
    if (answer.id !== id || answer.type !== 'response') return undefined;
    const code = (answer as { rcode?: string }).rcode ?? 'NOERROR';
    const answered = code === 'NOERROR' || code === 'NXDOMAIN';
    return answered ? passedProbe('L7OK') : failedProbe(`answer ${code}`, 'L7STS');
  } catch {
    return failedProbe('answer is not DNS');
  }
}
