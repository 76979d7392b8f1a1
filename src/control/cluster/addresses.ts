import { isIP } from 'node:net';
import { invalid, unavailable } from '../../base/faults.ts';
import { formatHostPort } from '../../model/address.ts';
import { isWildcard } from '../../model/host-intent.ts';

/** Addresses of a link, without prefix length. */
export type LinkAddresses = { readonly link: string; readonly addresses: readonly string[] };

/** Where the control port of a manager is by default. */
export const CONTROL_PORT = 2377;

type HostPort = { readonly host: string; readonly port: number };

function splitPort(text: string, what: string): { host: string; port: number | undefined } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = /^([^:]*)(?::(\d+))?$/.exec(text);
  const [, host = text, port] = bracketed ?? (isIP(text) ? [text, text] : (plain ?? []));
  const number = port === undefined ? undefined : Number(port);
  if (number !== undefined && (number < 1 || number > 65_535)) {
    throw invalid(`invalid ${what} address "${text}": the port is not from 1 to 65535`);
  }
  return { host, port: number };
}

function ofLink(name: string, links: readonly LinkAddresses[], what: string): string {
  const found = links.find(({ link }) => link === name);
  if (!found) {
    throw invalid(`invalid ${what} address "${name}": it is neither an address nor an interface`);
  }
  const v4 = found.addresses.filter((address) => isIP(address) === 4);
  const usable = v4.length > 0 ? v4 : found.addresses;
  const [first, second] = usable;
  if (first === undefined) throw invalid(`interface ${name} has no usable IPv4 or IPv6 address`);
  if (second !== undefined) {
    throw invalid(`interface ${name} has more than one address (${first} and ${second})`);
  }
  return first;
}

/** Where to ask a manager, with its port; a text without one means the usual. */
export function controlAddress(text: string): string {
  const { host, port = CONTROL_PORT } = splitPort(text, 'remote');
  return formatHostPort(host, port);
}

function isEvery(host: string): boolean {
  return host === '' || isWildcard(host);
}

/** Where a manager is to listen: an address or an interface, with or without a port. */
export function listenAddress(text: string, links: readonly LinkAddresses[]): HostPort {
  const { host, port = CONTROL_PORT } = splitPort(text, 'listen');
  if (isEvery(host)) return { host: host || '0.0.0.0', port };
  return { host: isIP(host) ? host : ofLink(host, links, 'listen'), port };
}

/** Where others are to reach this node. Throws when it cannot be known. */
export function advertiseAddress(
  text: string,
  listen: HostPort,
  links: readonly LinkAddresses[],
): HostPort {
  if (text === '') {
    const host = isEvery(listen.host) ? onlyAddress(links) : listen.host;
    return { host, port: listen.port };
  }
  const { host, port = listen.port } = splitPort(text, 'advertise');
  if (isEvery(host)) {
    throw invalid('advertise address must be a non-zero IP address or network interface');
  }
  return { host: isIP(host) ? host : ofLink(host, links, 'advertise'), port };
}

/** Where tunnels of overlays end; empty: where others reach this node. */
export function dataPathAddress(text: string, links: readonly LinkAddresses[]): string {
  if (text === '') return '';
  if (isEvery(text)) {
    throw invalid('data path address must be a non-zero IP address or network interface');
  }
  return isIP(text) ? text : ofLink(text, links, 'data path');
}

/** The address of a machine that has one. */
function onlyAddress(links: readonly LinkAddresses[]): string {
  const of = (family: number) =>
    links.flatMap(({ link, addresses }) =>
      addresses.filter((one) => isIP(one) === family).map((address) => ({ address, link })),
    );
  const [v4, v6] = [of(4), of(6)];
  const [first, second] = v4.length > 0 ? v4 : v6;
  const hint = 'specify one with --advertise-addr';
  if (!first) throw unavailable(`could not find the system's IP address - ${hint}`);
  if (!second) return first.address;
  const why =
    first.link === second.link
      ? `on interface ${first.link} (${first.address} and ${second.address})`
      : `on different interfaces (${first.address} on ${first.link} and ${second.address} on ${second.link})`;
  throw invalid(
    `could not choose an IP address to advertise since this system has multiple addresses ${why} - ${hint}`,
  );
}
