import dgram from 'node:dgram';
import net, { type AddressInfo } from 'node:net';
import { type Answer, decode, encode, type Packet, streamDecode, streamEncode } from 'dns-packet';

const AUTHORITATIVE = 1024;
const TRUNCATED = 512;
const NAME_ERROR = 3;
const SERVER_FAILURE = 2;

/** How the server answers: by its records, or with none of them, a failure, junk or not at all. */
export type DnsMode = 'records' | 'empty' | 'failure' | 'junk' | 'silent';

/** A DNS server of its own zone on a port of 127.0.0.1, over UDP and TCP. */
export class DnsServer {
  /** Answers of the zone; asked ones are those of the same name and type. */
  records: Answer[] = [];
  mode: DnsMode = 'records';
  /** Has clients come back over TCP. */
  truncate = false;
  queries = 0;
  overTcp = 0;
  port = 0;
  readonly #udp = dgram.createSocket('udp4');
  readonly #tcp = net.createServer((socket) => this.#stream(socket));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#tcp.listen(0, '127.0.0.1', resolve));
    this.port = (this.#tcp.address() as AddressInfo).port;
    this.#udp.on('message', (data, from) => {
      const answer = this.#answer(decode(data), this.truncate);
      if (answer === 'junk') this.#udp.send(Buffer.alloc(40, 0xff), from.port, from.address);
      else if (answer) this.#udp.send(encode(answer), from.port, from.address);
    });
    await new Promise<void>((resolve) => this.#udp.bind(this.port, '127.0.0.1', resolve));
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }

  #stream(socket: net.Socket): void {
    socket.on('error', () => {});
    socket.on('data', (data: Buffer) => {
      this.overTcp++;
      const answer = this.#answer(streamDecode(data), false);
      if (answer && answer !== 'junk') socket.write(streamEncode(answer));
    });
  }

  #answer({ id, questions }: Packet, truncate: boolean): Packet | 'junk' | undefined {
    this.queries++;
    if (this.mode === 'silent') return undefined;
    if (this.mode === 'junk') return 'junk';
    const asked = questions?.[0];
    const named = this.records.filter(({ name }) => name === asked?.name);
    const answers = named.filter(({ type }) => type === asked?.type);
    const code = this.mode === 'failure' ? SERVER_FAILURE : named.length === 0 ? NAME_ERROR : 0;
    const told = this.mode === 'records' && !truncate;
    const flags = AUTHORITATIVE | (truncate ? TRUNCATED : 0) | (this.mode === 'empty' ? 0 : code);
    return {
      type: 'response',
      ...(id === undefined ? {} : { id }),
      flags,
      ...(questions ? { questions } : {}),
      answers: told ? answers : [],
    };
  }
}
