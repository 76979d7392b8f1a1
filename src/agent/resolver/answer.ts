import {
  type Answer,
  type DecodedPacket,
  decode,
  encode,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import ipaddr from 'ipaddr.js';
import type { Rng } from '../../base/rng.ts';
import type { NameRecord } from '../../model/host-intent.ts';

/** How long a client may keep an answer of ours, in seconds: tasks come and go. */
export const TTL_S = 5;
/** The most that we send by UDP, whatever the client offers: fits every path. */
export const MAX_UDP_BYTES = 1232;
const PLAIN_UDP_BYTES = 512;
const AUTHORITATIVE = 1024;

const RCODE = { fine: 0, malformed: 1, failed: 2, missing: 3, unknown: 4, refused: 5 } as const;
export type Rcode = keyof typeof RCODE;

/** What a sandbox sees: the first place that knows a name answers. */
export interface NameView {
  /** Records of one name, all of the same network; undefined: not known. */
  lookup(name: string): readonly NameRecord[] | undefined;
  /** The name of an address; undefined: not ours. */
  reverse(address: string): string | undefined;
}

/** A query that can be answered. */
export type Query = {
  readonly packet: DecodedPacket;
  readonly id: number;
  readonly name: string;
  readonly type: string;
  /** The most bytes that the client takes by UDP. */
  readonly maxUdpBytes: number;
  readonly edns: boolean;
};

/** Undefined for what is no query of ours to answer, not even with an error. */
export function parseQuery(bytes: Buffer): Query | undefined {
  let packet: DecodedPacket;
  try {
    packet = decode(bytes);
  } catch {
    return undefined;
  }
  const [question] = packet.questions ?? [];
  if (packet.type !== 'query' || packet.questions?.length !== 1 || !question) return undefined;
  const opt = packet.additionals?.find(({ type }) => type === 'OPT');
  const offered = opt && 'udpPayloadSize' in opt ? Number(opt.udpPayloadSize) : PLAIN_UDP_BYTES;
  return {
    packet,
    id: packet.id ?? 0,
    name: question.name.toLowerCase().replace(/\.$/, ''),
    type: question.type,
    maxUdpBytes: Math.min(MAX_UDP_BYTES, Math.max(PLAIN_UDP_BYTES, offered)),
    edns: opt !== undefined,
  };
}

/** The address that a reverse name stands for; undefined when it stands for none. */
export function reverseAddress(name: string): string | undefined {
  const v4 = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name)?.[1];
  if (v4 !== undefined) {
    const text = v4.slice(0, -1).split('.').reverse().join('.');
    return ipaddr.IPv4.isValidFourPartDecimal(text) ? text : undefined;
  }
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (v6 === undefined) return undefined;
  const digits = v6.replaceAll('.', '').split('').reverse().join('');
  return ipaddr.parse(digits.replaceAll(/(.{4})(?!$)/g, '$1:')).toString();
}

/** One network's names, or those of one sandbox. */
export class NameIndex implements NameView {
  readonly #names = new Map<string, NameRecord[]>();
  readonly #addresses = new Map<string, string>();

  constructor(records: readonly NameRecord[]) {
    for (const record of records) {
      const there = this.#names.get(record.name);
      if (there) there.push(record);
      else this.#names.set(record.name, [record]);
      if (!record.primary) continue;
      for (const address of record.addresses) {
        this.#addresses.set(canonical(address), record.name);
      }
    }
  }

  lookup(name: string): readonly NameRecord[] | undefined {
    return this.#names.get(name);
  }

  reverse(address: string): string | undefined {
    return this.#addresses.get(address);
  }
}

/** The first of several views that knows decides. */
export function firstOf(views: readonly NameView[]): NameView {
  return {
    lookup: (name) => {
      for (const view of views) {
        const found = view.lookup(name);
        if (found) return found;
      }
      return undefined;
    },
    reverse: (address) => {
      for (const view of views) {
        const found = view.reverse(address);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

function shuffled<T>(rng: Rng, items: T[]): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = rng.below(at + 1);
    const [a, b] = [items[at], items[other]];
    if (a !== undefined && b !== undefined) {
      items[at] = b;
      items[other] = a;
    }
  }
  return items;
}

/** What answers a query, and what spares the client the next one. */
export type LocalAnswer = {
  /** Empty: the name has none of that type. */
  readonly answers: Answer[];
  readonly additionals: Answer[];
};

/** A service and its provider: `_http._tcp.web`. Source: RFC 2782. */
const SERVICE = /^_([a-z0-9-]+)\._(tcp|udp|sctp)\.(.+)$/;

/** The number of a service by its number or its name. */
export type PortOf = (service: string, transport: string) => number | undefined;

function serviceAnswer(
  [, service = '', transport = '', provider = '']: readonly string[],
  question: string,
  view: NameView,
  rng: Rng,
  portOf: PortOf,
): LocalAnswer | undefined {
  const records = view.lookup(provider);
  if (!records) return undefined;
  const port = portOf(service, transport);
  const serving = records.filter(({ services = [] }) =>
    services.some((one) => one.port === port && one.transport === transport),
  );
  const hosts = new Map(
    serving.map(({ addresses, name }) => [
      // Several may share the name: each has one of its own.
      addresses.map((address) => view.reverse(canonical(address))).find(Boolean) ?? name,
      addresses,
    ]),
  );
  const answers = [...hosts.keys()].map(
    (target): Answer => ({
      ...{ name: question, type: 'SRV', ttl: TTL_S },
      data: { priority: 0, weight: 1, port: port ?? 0, target },
    }),
  );
  const additionals = [...hosts].flatMap(([name, addresses]) =>
    addresses.map(
      (data): Answer => ({
        ...{ name, ttl: TTL_S, data },
        type: data.includes(':') ? 'AAAA' : 'A',
      }),
    ),
  );
  return { answers: shuffled(rng, answers), additionals };
}

function canonical(address: string): string {
  return ipaddr.parse(address).toString();
}

/** Undefined: not ours to answer. */
export function localAnswer(
  query: Query,
  view: NameView,
  rng: Rng,
  portOf: PortOf,
): LocalAnswer | undefined {
  const question = query.packet.questions?.[0]?.name ?? query.name;
  const service = query.type === 'SRV' ? SERVICE.exec(query.name) : null;
  if (service) return serviceAnswer(service, question, view, rng, portOf);
  const answers = plainAnswers(query, question, view, rng);
  return answers && { answers, additionals: [] };
}

function plainAnswers(
  { name, type }: Query,
  question: string,
  view: NameView,
  rng: Rng,
): Answer[] | undefined {
  if (type === 'PTR') {
    const address = reverseAddress(name);
    const target = address === undefined ? undefined : view.reverse(address);
    return target === undefined
      ? undefined
      : [{ name: question, type: 'PTR', ttl: TTL_S, data: target }];
  }
  const records = view.lookup(name);
  if (!records) return undefined;
  if (type !== 'A' && type !== 'AAAA') return [];
  const addresses = records
    .flatMap((record) => record.addresses)
    .filter((address) => address.includes(':') === (type === 'AAAA'));
  return shuffled(rng, [...new Set(addresses)]).map((data) => ({
    name: question,
    type,
    ttl: TTL_S,
    data,
  }));
}

const OPTION = {
  ...{ type: 'OPT' as const, name: '.' as const, udpPayloadSize: MAX_UDP_BYTES },
  ...{ extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
};

/** A response on the wire. By UDP one that does not fit says so and carries nothing. */
export function respond(
  query: Query,
  outcome: LocalAnswer & { readonly rcode: Rcode; readonly own: boolean },
  udp: boolean,
): Buffer {
  const wanted = query.packet.flag_rd === false ? 0 : RECURSION_DESIRED;
  const flags =
    wanted | RECURSION_AVAILABLE | (outcome.own ? AUTHORITATIVE : 0) | RCODE[outcome.rcode];
  const response = {
    type: 'response' as const,
    id: query.id,
    flags,
    questions: query.packet.questions ?? [],
    answers: outcome.answers,
    additionals: [...outcome.additionals, ...(query.edns ? [OPTION] : [])],
  };
  const bytes = encode(response);
  if (!udp || bytes.length <= query.maxUdpBytes) return bytes;
  // What spares the next query is not worth a second one.
  const short = encode({
    ...response,
    additionals: response.additionals.slice(outcome.additionals.length),
  });
  if (short.length <= query.maxUdpBytes) return short;
  const none = { answers: [], additionals: query.edns ? [OPTION] : [] };
  return encode({ ...response, ...none, flags: flags | TRUNCATED_RESPONSE });
}
