import { readFileSync } from 'node:fs';
import { errorText } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { ConsulBackend } from '../../store/consul-backend.ts';
import { EtcdBackend } from '../../store/etcd-backend.ts';
import type { StoreTls } from '../../store/json-http.ts';
import { SharedStore } from '../../store/shared-store.ts';
import type { Store } from '../../store/store.ts';

/** The store that the managers of a cluster share. */
export type ClusterStoreOptions = {
  readonly kind: 'consul' | 'etcd';
  /** `host:port` each. */
  readonly addresses: readonly string[];
  readonly prefix: string;
  readonly tlsFiles: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly token: string | undefined;
  readonly leaseMs: number;
  /** Undefined: by the lease. */
  readonly renewMs: number | undefined;
};

const KEYS = [
  ...['kv.cacertfile', 'kv.certfile', 'kv.keyfile', 'kv.path', 'kv.token'],
  ...['discovery.heartbeat', 'discovery.ttl'],
];
const DEFAULT_PREFIX = 'sluice';
const DEFAULT_LEASE_S = 10;
const MIN_LEASE_S = 10;
const MAX_LEASE_S = 3600;
const PORTS = { consul: 8500, etcd: 2379 };

function seconds(
  options: Readonly<Record<string, string>>,
  key: string,
  least: number,
  most: number,
): number | undefined {
  const text = options[key];
  if (text === undefined) return undefined;
  const value = Number(text.replace(/s$/, ''));
  if (value >= least && value <= most) return value;
  throw invalid(`invalid ${key}: "${text}" is not from ${least} to ${most} seconds`);
}

/** Undefined: none was given. Throws for what cannot be meant. */
export function clusterStore(
  url: string | undefined,
  options: Readonly<Record<string, string>>,
): ClusterStoreOptions | undefined {
  if (url === undefined) {
    if (Object.keys(options).length === 0) return undefined;
    throw invalid('cluster-store-opts is given without a cluster-store');
  }
  const [, kind, hosts = '', path = ''] = /^(consul|etcd):\/\/([^/]+)\/?(.*)$/.exec(url) ?? [];
  if (kind !== 'consul' && kind !== 'etcd') {
    throw invalid(
      `invalid cluster-store: "${url}" is neither consul://HOST:PORT[,HOST:PORT]/PREFIX nor etcd://…`,
    );
  }
  const unknown = Object.keys(options).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) {
    throw invalid(`invalid cluster-store-opts: "${unknown}" is none of ${KEYS.join(', ')}`);
  }
  const lease = seconds(options, 'discovery.ttl', MIN_LEASE_S, MAX_LEASE_S) ?? DEFAULT_LEASE_S;
  const beat = seconds(options, 'discovery.heartbeat', 1, lease / 2);
  const [ca, cert, key] = ['kv.cacertfile', 'kv.certfile', 'kv.keyfile'].map((one) => options[one]);
  const given = path || options['kv.path'] || DEFAULT_PREFIX;
  return {
    kind,
    addresses: hosts.split(',').map((one) => (/:\d+$/.test(one) ? one : `${one}:${PORTS[kind]}`)),
    prefix: given.replace(/^\/+|\/+$/g, ''),
    tlsFiles: { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) },
    token: options['kv.token'],
    leaseMs: lease * 1000,
    renewMs: beat === undefined ? undefined : beat * 1000,
  };
}

function readTls({ tlsFiles }: ClusterStoreOptions): StoreTls | undefined {
  if (Object.keys(tlsFiles).length === 0) return undefined;
  const read = (path: string | undefined) => {
    if (path === undefined) return undefined;
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      throw invalid(`cannot read ${path} of cluster-store-opts: ${errorText(error)}`);
    }
  };
  return { ca: read(tlsFiles.ca), cert: read(tlsFiles.cert), key: read(tlsFiles.key) };
}

/** Opens it with its whole state in memory. Throws when it does not answer. */
export function openClusterStore(options: ClusterStoreOptions, logger: Logger): Promise<Store> {
  const { kind, addresses, prefix, token, leaseMs, renewMs } = options;
  const common = { addresses, prefix, leaseMs, renewMs, tls: readTls(options) };
  const backend =
    kind === 'consul' ? new ConsulBackend({ ...common, token }) : new EtcdBackend(common);
  return SharedStore.open(backend, logger);
}
