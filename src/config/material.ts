import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ConfigIo } from './io.ts';
import { filePlaces } from './resolve.ts';

/** Contents of every file that a configuration names, by absolute path. */
export function loadMaterial(
  config: GatewayConfig,
  io: ConfigIo,
): { files: Readonly<Record<string, string>> } {
  const files: Record<string, string> = {};
  for (const { file } of filePlaces(config)) {
    const text = io.readFile(file);
    if (text !== undefined) files[file] = text;
  }
  return { files };
}
