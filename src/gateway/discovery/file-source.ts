import { readFile, stat } from 'node:fs/promises';
import { parse } from 'yaml';
import { formatEndpointAddress, parseEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { Source } from './source.ts';

const FILE_LOOK_MS = 1000;
const MAX_WEIGHT = 256;
const MAX_BYTES = 16 * 1024 * 1024;

/** The lines when each is an address; `#` starts a comment. */
function addressLines(text: string): string[] | undefined {
  const lines = text
    .split('\n')
    .map((line) => line.replace(/(?:^|\s)#.*/, '').trim())
    .filter(Boolean);
  return lines.every((line) => parseEndpointAddress(line)) ? lines : undefined;
}

function readItem(item: unknown): EndpointSpec | undefined {
  const entry: object = typeof item === 'object' && item !== null ? item : { address: item };
  const { address: text, weight = 1, backup = false } = entry as Record<string, unknown>;
  const address = typeof text === 'string' ? parseEndpointAddress(text) : undefined;
  if (!address || typeof backup !== 'boolean') return undefined;
  if (typeof weight !== 'number' || !Number.isInteger(weight)) return undefined;
  if (weight < 0 || weight > MAX_WEIGHT) return undefined;
  return { id: formatEndpointAddress(address), address, weight, backup };
}

/** A file with one address a line, or a YAML or JSON list of addresses or endpoint objects. */
export function fileSource(path: string): Source {
  return {
    tellsChanges: false,
    local: true,
    read: async () => {
      const { size } = await stat(path);
      if (size > MAX_BYTES) throw new Error(`${path} is larger than 16 MiB`);
      const text = await readFile(path, 'utf8');
      const items: unknown = addressLines(text) ?? parse(text);
      if (!Array.isArray(items)) throw new Error(`${path} is not a list of endpoints`);
      const specs = items.map((item: unknown) => {
        const spec = readItem(item);
        if (!spec) throw new Error(`${path}: ${JSON.stringify(item)} is not an endpoint`);
        return spec;
      });
      return { specs, nextMs: FILE_LOOK_MS };
    },
    close: () => {},
  };
}
