/** A name as users write it: without the registry and folder that are meant when none is given. */
export function familiarName(name: string): string {
  return name.replace(/^localhost\//, '').replace(/^docker\.io\/(?:library\/)?/, '');
}

/** A name as it is kept. */
export function canonicalName(name: string): string {
  const [first = '', ...rest] = name.split('/');
  const hasRegistry = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  if (hasRegistry) return name;
  return rest.length === 0 ? `docker.io/library/${name}` : `docker.io/${name}`;
}

/** What a registry is asked for. */
export type ImageReference = {
  /** Host, with its port unless that is the usual one. */
  readonly registry: string;
  readonly repository: string;
  /** Empty only where there is a digest. */
  readonly tag: string;
  /** Such as `sha256:…`; empty: whatever has the tag. */
  readonly digest: string;
};

/** Reads a name with a tag, a digest, both or neither, which means the tag `latest`. */
export function imageReference(name: string): ImageReference {
  const [named = '', digest = ''] = canonicalName(name).split('@');
  const slash = named.indexOf('/');
  const [registry, path] = [named.slice(0, slash), named.slice(slash + 1)];
  const [repository = '', tag = digest === '' ? 'latest' : ''] = path.split(':');
  return { registry, repository, tag, digest };
}
