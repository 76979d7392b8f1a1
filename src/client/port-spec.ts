import { SluiceError } from '../base/errors.ts';

/** Ports as the engine takes them: exposed ones, and bindings by `port/protocol`. */
export type PublishedPorts = {
  readonly exposed: Record<string, Record<string, never>>;
  readonly bindings: Record<string, { HostIp: string; HostPort: string }[]>;
};

type Range = readonly [number, number];

const SPEC =
  /^(?:(?:\[([0-9a-fA-F:]+)\]|(\d+(?:\.\d+){3})):)?(?:(\d+(?:-\d+)?)?:)?(\d+(?:-\d+)?)(?:\/(tcp|udp|sctp))?$/;

function range(text: string): Range {
  const [low, high = low] = text.split('-').map(Number);
  return [Number(low), Number(high)];
}

function wrong(spec: string, why: string): SluiceError {
  return new SluiceError('E_REQUEST_INVALID', `invalid port "${spec}": ${why}`);
}

function longForm(spec: string): string {
  const parts = Object.fromEntries(spec.split(',').map((part) => part.split('=', 2)));
  if (!parts['target']) throw wrong(spec, "missing mandatory field 'target'");
  const published = parts['published'] ? `${parts['published']}:` : '';
  return `${published}${parts['target']}/${parts['protocol'] ?? 'tcp'}`;
}

/**
 * Reads `-p` values: `[IP:][HOST[-HOST]:]PORT[-PORT][/PROTOCOL]`, `IP::PORT`, and the long form
 * `published=,target=,protocol=`. Ranges on both sides are of one length; a range for one port
 * lets the engine choose from it.
 */
export function parsePublished(specs: readonly string[]): PublishedPorts {
  const ports: PublishedPorts = { exposed: {}, bindings: {} };
  for (const given of specs) {
    const spec = given.includes('=') ? longForm(given) : given;
    const [, six, four, host, inner, protocol = 'tcp'] = SPEC.exec(spec) ?? [];
    if (inner === undefined) throw wrong(given, '[IP:][HOST:]PORT[/PROTOCOL] is valid');
    const [low, high] = range(inner);
    const [hostLow, hostHigh] = host === undefined ? [0, -1] : range(host);
    const one = low === high;
    if (host !== undefined && !one && hostHigh - hostLow !== high - low) {
      throw wrong(given, 'invalid ranges specified for container and host Ports');
    }
    for (let port = low; port <= high; port++) {
      const key = `${port}/${protocol}`;
      const HostPort = host === undefined ? '' : one ? host : String(hostLow + port - low);
      ports.exposed[key] = {};
      ports.bindings[key] = [
        ...(ports.bindings[key] ?? []),
        { HostIp: six ?? four ?? '', HostPort },
      ];
    }
  }
  return ports;
}
