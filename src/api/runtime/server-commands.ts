import type { EndpointInfo } from '../../client/admin-types.ts';
import {
  type EndpointAddress,
  formatEndpointAddress,
  parseEndpointAddress,
} from '../../model/address.ts';
import type { AdminState, EndpointSpec } from '../../model/endpoint-state.ts';
import {
  NEEDS_SERVER,
  NO_BACKEND,
  NO_SERVER,
  type RuntimeCall,
  type RuntimeCommand,
} from './command.ts';

const STATES: readonly AdminState[] = ['ready', 'drain', 'maint'];
const STATE_USAGE = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n";
const SET_USAGE = 'usage: set server <backend>/<server> addr | state | weight\n';
const BY = "by 'stats socket command'\n";

/** An endpoint that a command names. */
type Target = { readonly service: string; readonly endpoint: EndpointInfo };

/** Finds `backend/server`; yields what HAProxy says when there is none. */
async function find({ backend, words }: RuntimeCall): Promise<Target | string> {
  const [service = '', name] = split(words[0]);
  if (name === undefined) return NEEDS_SERVER;
  const found = (await backend.services()).find((one) => one.name === service);
  if (!found) return NO_BACKEND;
  const endpoint = found.endpoints.find((one) => (one.name ?? one.id) === name);
  return endpoint ? { service, endpoint } : NO_SERVER;
}

function split(word = ''): [string, string | undefined] {
  const at = word.indexOf('/');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

/** Runs what is done with an endpoint, when there is one. */
export function withServer(run: (target: Target, call: RuntimeCall) => string | Promise<string>) {
  return async (call: RuntimeCall) => {
    const target = await find(call);
    return typeof target === 'string' ? target : run(target, call);
  };
}

function order({ service, endpoint }: Target, call: RuntimeCall, state: AdminState): string {
  return call.backend.order(service, endpoint.id, { state }) ? '' : NO_SERVER;
}

function setWeight(target: Target, call: RuntimeCall, text: string | undefined): string {
  const { service, endpoint } = target;
  if (text === undefined) return 'Require <weight> or <weight%>.\n';
  if (!/^-?\d+%?$/.test(text)) return 'Trailing garbage in weight string.\n';
  const share = text.endsWith('%');
  const value = Number.parseInt(text, 10);
  if (share && (value < 0 || value > 25_600)) {
    return 'Relative weight must be positive.\n';
  }
  const weight = share ? Math.floor((initialWeight(endpoint) * value) / 100) : value;
  if (weight < 0 || weight > 256) {
    return 'Absolute weight can only be between 0 and 256 inclusive.\n';
  }
  return call.backend.order(service, endpoint.id, { weight }) ? '' : NO_SERVER;
}

/** What it was given, apart from all orders. */
function initialWeight({ initialWeight: given, weight }: EndpointInfo): number {
  return given ?? weight;
}

/** `127.0.0.1`, `127.0.0.1 port 80` with what it keeps of the address that is there. */
function readAddress(host: string, port: string | undefined, now: EndpointAddress) {
  if ('path' in now) return undefined;
  const address = parseEndpointAddress(
    `${host.includes(':') ? `[${host}]` : host}:${port ?? now.port}`,
  );
  return address && 'host' in address && /^[\d.]+$|:/.test(host) ? address : undefined;
}

function setAddress({ service, endpoint }: Target, call: RuntimeCall): string {
  const [, , host, keyword, port] = call.words;
  if (host === undefined) {
    return 'set server <b>/<s> addr requires an address and optionally a port.\n';
  }
  if (keyword !== undefined && (keyword !== 'port' || port === undefined)) return SET_USAGE;
  const { address: now } = endpoint;
  const wanted = readAddress(host, port, now);
  if (!wanted || 'path' in now) return `Invalid addr '${host}' ${BY}`;
  const changes = [
    wanted.host === now.host
      ? 'no need to change the addr'
      : `IP changed from '${now.host}' to '${wanted.host}'`,
    ...(port === undefined
      ? []
      : [
          wanted.port === now.port
            ? 'no need to change the port'
            : `port changed from '${now.port}' to '${wanted.port}'`,
        ]),
  ];
  const same = formatEndpointAddress(wanted) === formatEndpointAddress(now);
  if (!same && !call.backend.moveEndpoint(service, endpoint.id, wanted)) {
    return `Another server of the backend has the address ${formatEndpointAddress(wanted)}.\n`;
  }
  return `${changes.join(', ')} ${BY}`;
}

function setServer(target: Target, call: RuntimeCall): string {
  const [, what, value] = call.words;
  if (what === 'weight') return setWeight(target, call, value);
  if (what === 'addr') return setAddress(target, call);
  if (what !== 'state') return SET_USAGE;
  const state = STATES.find((known) => known === value);
  return state ? order(target, call, state) : STATE_USAGE;
}

/** Reads what stands behind the address; yields the fault in words. */
function readOptions(words: readonly string[]): Partial<EndpointSpec> | string {
  const options: { weight?: number; backup?: boolean; maxConnections?: number } = {};
  const left = [...words];
  while (left.length > 0) {
    const keyword = left.shift() ?? '';
    if (keyword === 'check') continue;
    if (keyword === 'backup') options.backup = true;
    else if (keyword === 'weight' || keyword === 'maxconn') {
      const value = Number(left.shift());
      const fits = Number.isInteger(value) && value >= 0 && (keyword === 'maxconn' || value <= 256);
      if (!fits) return `'${keyword}' expects a number.`;
      if (keyword === 'weight') options.weight = value;
      else if (value > 0) options.maxConnections = value;
    } else return `unknown keyword '${keyword}'.\n`;
  }
  return options;
}

async function addServer({ backend, words }: RuntimeCall): Promise<string> {
  const [service = '', name] = split(words[0]);
  if (!name) return "Require 'backend/server'.";
  if (!(await backend.services()).some((one) => one.name === service)) return 'No such backend.';
  const address = words[1] === undefined ? undefined : parseEndpointAddress(words[1]);
  if (!address) return "'server' expects <name> and <addr>[:<port>] as arguments.\n";
  const options = readOptions(words.slice(2));
  if (typeof options === 'string') return options;
  const id = formatEndpointAddress(address);
  const refused = backend.addEndpoint(service, {
    ...{ id, name, address, weight: 1, backup: false },
    ...options,
  });
  return refused ? `${refused}\n` : 'New server registered.\n';
}

/** `del server` speaks without newlines. */
async function removeServer(call: RuntimeCall): Promise<string> {
  const target = await find(call);
  if (typeof target === 'string') return target.trimEnd();
  return call.backend.removeEndpoint(target.service, target.endpoint.id) ?? 'Server deleted.';
}

/** Commands about servers. Source: HAProxy management guide, section 9.3. */
export const SERVER_COMMANDS: readonly RuntimeCommand[] = [
  {
    name: 'add server',
    usage: 'add server <bk>/<srv> <addr>',
    help: 'create a new server',
    level: 'admin',
    run: addServer,
  },
  {
    name: 'del server',
    usage: 'del server <bk>/<srv>',
    help: 'remove a server that is in maintenance',
    level: 'admin',
    run: removeServer,
  },
  {
    name: 'disable server',
    usage: 'disable server <bk>/<srv>',
    help: "disable a server for maintenance (use 'set server' instead)",
    level: 'admin',
    run: withServer((target, call) => order(target, call, 'maint')),
  },
  {
    name: 'enable server',
    usage: 'enable server <bk>/<srv>',
    help: "enable a disabled server (use 'set server' instead)",
    level: 'admin',
    run: withServer((target, call) => order(target, call, 'ready')),
  },
  {
    name: 'get weight',
    usage: 'get weight <bk>/<srv>',
    help: "report a server's current weight",
    level: 'user',
    run: withServer(({ endpoint }) => `${endpoint.weight} (initial ${initialWeight(endpoint)})\n`),
  },
  {
    name: 'set server',
    usage: 'set server <bk>/<srv> [opts]',
    help: "change a server's state, weight or address",
    level: 'admin',
    run: withServer(setServer),
  },
  {
    name: 'set weight',
    usage: 'set weight <bk>/<srv>',
    help: "change a server's weight (use 'set server' instead)",
    level: 'admin',
    run: withServer((target, call) => setWeight(target, call, call.words[1])),
  },
];
