import { readFileSync } from 'node:fs';

const MAX_PORT = 65_535;

/** The names of services in a file such as /etc/services. Source: services(5). */
export function parseServices(text: string): ReadonlyMap<string, number> {
  const ports = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name = '', entry = '', ...aliases] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const [port, transport] = entry.split('/');
    if (transport === undefined || !/^\d+$/.test(port ?? '')) continue;
    for (const one of [name, ...aliases]) {
      const key = `${one.toLowerCase()}/${transport}`;
      if (!ports.has(key)) ports.set(key, Number(port));
    }
  }
  return ports;
}

let known: ReadonlyMap<string, number> | undefined;

function hostServices(): ReadonlyMap<string, number> {
  try {
    known ??= parseServices(readFileSync('/etc/services', 'utf8'));
  } catch {
    // A host without the file has numbers alone.
    known = new Map();
  }
  return known;
}

/** The port of a service by its number or by the name that the host has for it. */
export function servicePort(service: string, transport: string): number | undefined {
  if (!/^\d+$/.test(service)) return hostServices().get(`${service}/${transport}`);
  const port = Number(service);
  return port >= 1 && port <= MAX_PORT ? port : undefined;
}
