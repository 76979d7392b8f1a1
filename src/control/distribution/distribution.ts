import { createHash } from 'node:crypto';
import { failed, forbidden, notFound } from '../../base/faults.ts';
import { contains, parseAddress, parsePrefix } from '../../ipam/cidr.ts';
import { imageReference } from '../../model/image-name.ts';
import { type RegistryAnswer, RegistryClient } from './registry-client.ts';

/** A platform in the words of images: `linux` and `amd64`. */
export type ImagePlatform = {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
};

/** What a registry has by a name. */
export type Distribution = {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platforms: readonly ImagePlatform[];
};

type Json = {
  readonly mediaType?: unknown;
  readonly config?: { readonly digest?: unknown };
  readonly manifests?: readonly { readonly platform?: Json }[];
  readonly os?: unknown;
  readonly architecture?: unknown;
  readonly variant?: unknown;
  readonly errors?: readonly { readonly code?: unknown; readonly message?: unknown }[];
};

/** Kinds of manifests. Source: OCI image specification; Docker's image manifest, version 2, schema 2. */
const ACCEPTED = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

function read(body: Buffer): Json {
  try {
    const value: unknown = JSON.parse(body.toString());
    // exempt(as): every field is optional and checked where it is read
    return typeof value === 'object' && value !== null ? (value as Json) : {};
  } catch {
    return {};
  }
}

const text = (value: unknown) => (typeof value === 'string' ? value : '');

function platformOf({ os, architecture, variant }: Json): ImagePlatform {
  return { os: text(os), architecture: text(architecture), variant: text(variant) || undefined };
}

/** What an answer holds. Throws when it refuses, and when it is not what its digest says. */
function contentOf(name: string, { status, body }: RegistryAnswer, digest: string): Buffer {
  if (status === 200) {
    const own = `sha256:${createHash('sha256').update(body).digest('hex')}`;
    if (digest === '' || !digest.startsWith('sha256:') || own === digest) return body;
    throw failed(`the registry has ${own} for ${name}, not ${digest}`);
  }
  const [error] = read(body).errors ?? [];
  const reason = text(error?.message) || text(error?.code) || `status ${status}`;
  if (status === 404) throw notFound(`${name} is not in its registry: ${reason}`);
  if (status === 401 || status === 403) throw forbidden(`access to ${name} is denied: ${reason}`);
  throw failed(`the registry refuses ${name}: ${reason}`);
}

/** Asks the registry of an image for its digest and platforms. Throws with what the registry says. */
export async function inspectDistribution(
  name: string,
  { login, insecure }: { readonly login: string; readonly insecure: boolean },
): Promise<Distribution> {
  const { registry, repository, tag, digest } = imageReference(name);
  const client = new RegistryClient({ registry, login, insecure });
  const answer = await client.get(`/v2/${repository}/manifests/${digest || tag}`, ACCEPTED);
  const body = contentOf(name, answer, digest);
  const manifest = read(body);
  const base = {
    mediaType: text(manifest.mediaType) || (answer.headers['content-type'] ?? ''),
    digest: digest || `sha256:${createHash('sha256').update(body).digest('hex')}`,
    size: body.length,
  };
  if (Array.isArray(manifest.manifests)) {
    const platforms = manifest.manifests.map(({ platform = {} }) => platformOf(platform));
    return { ...base, platforms };
  }
  const config = text(manifest.config?.digest);
  if (config === '') throw failed(`the registry has no image by the name ${name}`);
  const blob = await client.get(`/v2/${repository}/blobs/${config}`, '*/*');
  return { ...base, platforms: [platformOf(read(contentOf(name, blob, config)))] };
}

/**
 * Whether a registry is talked to without checks: one on this host, or one of a list of `HOST`,
 * `HOST:PORT` and blocks of addresses.
 */
export function isInsecure(registry: string, list: readonly string[]): boolean {
  const host = registry.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  if (host === 'localhost' || list.includes(registry) || list.includes(host)) return true;
  const address = parseAddress(host);
  if (!address) return false;
  const blocks = ['127.0.0.0/8', '::1/128', ...list].map((block) => parsePrefix(block)?.cidr);
  return blocks.some((cidr) => cidr !== undefined && contains(cidr, address));
}
