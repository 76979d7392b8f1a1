import { readdirSync, readFileSync } from 'node:fs';
import { errorText, SluiceError } from '../base/errors.ts';
import { type ConfigIo, formatDiagnostic, formatDiagnostics, loadConfig } from '../config/load.ts';
import { loadMaterial } from '../config/material.ts';
import type { ConfigMaterial } from '../gateway/ipc.ts';
import type { LoadedConfig } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ClusterEdge, ClusterPart } from './cluster-edge.ts';

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
    whyUnreadable: (path) => {
      try {
        readFileSync(path);
        return undefined;
      } catch (error) {
        return errorText(error).replace(/^\w+: |, \w+( '.*')?$/g, '');
      }
    },
    listDirectory: (path) => orUndefined(() => readdirSync(path)),
    env,
    wallMs: Date.now,
  };
}

/** A configuration with what it was made of. */
export type SourcedConfig = LoadedConfig & {
  /** What the files say. */
  readonly written: GatewayConfig;
  /** What a cluster has added. */
  readonly part: ClusterPart | undefined;
};

/** The configuration files of this process, read as often as asked, and what a cluster adds. */
export class ConfigSource {
  readonly paths: readonly string[];
  readonly io: ConfigIo;
  readonly #cluster: ClusterEdge | undefined;

  constructor(
    paths: readonly string[],
    env: Readonly<Record<string, string | undefined>>,
    cluster?: ClusterEdge,
  ) {
    this.paths = paths;
    const files = fileIo(env);
    this.io = { ...files, readFile: (path) => cluster?.readFile(path) ?? files.readFile(path) };
    this.#cluster = cluster;
  }

  /** Reads and checks everything. Throws `E_CONFIG_INVALID` with all diagnostics in its message. */
  load(): SourcedConfig {
    const result = loadConfig(this.paths, this.io);
    if (!result.ok) {
      throw new SluiceError('E_CONFIG_INVALID', formatDiagnostics(result.diagnostics));
    }
    const { config, warnings } = result;
    return this.#sourced(config, warnings.map(formatDiagnostic));
  }

  /** What the files said, with what the cluster adds now. */
  again({ written }: SourcedConfig): SourcedConfig {
    return this.#sourced(written, []);
  }

  #sourced(written: GatewayConfig, warnings: readonly string[]): SourcedConfig {
    const part = this.#cluster?.part;
    const config = this.#cluster && part ? this.#cluster.extend(written, part) : written;
    return { config, material: this.material(config), warnings, written, part };
  }

  /** The contents of the files that a configuration names, as they are now. */
  material(config: GatewayConfig): ConfigMaterial {
    return loadMaterial(config, this.io);
  }
}
