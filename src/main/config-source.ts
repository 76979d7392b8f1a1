import { readdirSync, readFileSync } from 'node:fs';
import { SluiceError } from '../base/errors.ts';
import { type ConfigIo, formatDiagnostic, formatDiagnostics, loadConfig } from '../config/load.ts';
import { loadMaterial } from '../config/material.ts';
import type { ConfigMaterial } from '../gateway/ipc.ts';
import type { LoadedConfig } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Reads configurations from the file system. */
export function fileIo(env: ConfigIo['env']): ConfigIo {
  return {
    readFile: (path) => orUndefined(() => readFileSync(path, 'utf8')),
    listDirectory: (path) => orUndefined(() => readdirSync(path)),
    env,
    wallMs: Date.now,
  };
}

/** The configuration files of this process, read as often as asked. */
export class ConfigSource {
  readonly paths: readonly string[];
  readonly io: ConfigIo;

  constructor(paths: readonly string[], env: Readonly<Record<string, string | undefined>>) {
    this.paths = paths;
    this.io = fileIo(env);
  }

  /** Reads and checks everything. Throws `E_CONFIG_INVALID` with all diagnostics in its message. */
  load(): LoadedConfig {
    const result = loadConfig(this.paths, this.io);
    if (!result.ok) {
      throw new SluiceError('E_CONFIG_INVALID', formatDiagnostics(result.diagnostics));
    }
    const { config, warnings } = result;
    return { config, material: this.material(config), warnings: warnings.map(formatDiagnostic) };
  }

  /** The contents of the files that a configuration names, as they are now. */
  material(config: GatewayConfig): ConfigMaterial {
    return loadMaterial(config, this.io);
  }
}
