import { readFileSync } from 'node:fs';
import { SluiceError } from '../base/errors.ts';
import { type ConfigIo, formatDiagnostics, loadConfig } from '../config/load.ts';
import { loadMaterial } from '../config/material.ts';
import type { ConfigMaterial } from '../gateway/ipc.ts';
import type { LoadedConfig } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** The configuration files of this process, read as often as asked. */
export class ConfigSource {
  readonly paths: readonly string[];
  readonly io: ConfigIo;

  constructor(paths: readonly string[], env: Readonly<Record<string, string | undefined>>) {
    this.paths = paths;
    this.io = { readFile: readText, env };
  }

  /** Reads and checks everything. Throws `E_CONFIG_INVALID` with all diagnostics in its message. */
  load(): LoadedConfig {
    const result = loadConfig(this.paths, this.io);
    if (!result.ok) {
      throw new SluiceError('E_CONFIG_INVALID', formatDiagnostics(result.diagnostics));
    }
    return { config: result.config, material: this.material(result.config) };
  }

  /** The contents of the files that a configuration names, as they are now. */
  material(config: GatewayConfig): ConfigMaterial {
    return loadMaterial(config, this.io);
  }
}
