import tls from 'node:tls';
import { errorText } from '../base/errors.ts';
import { checkBundle } from '../base/pem.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';

/** PEM files that are used together. */
type Group = { readonly paths: readonly string[]; try(file: (path: string) => string): void };

function groupsOf({ listeners, services }: GatewayConfig): Group[] {
  const groups: Group[] = [];
  const add = (files: Readonly<Record<string, string | undefined>>) => {
    const named = Object.entries(files).flatMap(([key, path]) => (path ? [[key, path]] : []));
    const paths = named.map(([, path]) => path as string);
    groups.push({
      paths,
      try: (file) => {
        const contents = named.map(([key, path]) => [key, file(path as string)]);
        const options = Object.fromEntries(contents);
        // Which the library takes for no file at all.
        if (Object.values(options).includes('')) throw new Error('a file is empty');
        tls.createSecureContext(options);
        // What is no certificate would be left out without a word.
        if (options.ca !== undefined) checkBundle(options.ca);
      },
    });
  };
  for (const { tls: settings } of Object.values(listeners)) {
    for (const { cert, key } of settings?.certificates ?? []) add({ cert, key });
    if (settings?.clientAuth) add({ ca: settings.clientAuth.ca, crl: settings.clientAuth.crl });
  }
  for (const { tls: settings } of Object.values(services)) {
    if (settings?.ca) add({ ca: settings.ca });
    if (settings?.cert && settings.key) add({ cert: settings.cert, key: settings.key });
  }
  return groups.filter(({ paths }) => paths.length > 0);
}

/** New contents of files, with the old ones where the new cannot be used, and why. */
export type Trial = {
  readonly files: Readonly<Record<string, string>>;
  readonly refused: readonly { readonly paths: readonly string[]; readonly why: string }[];
};

/**
 * Tries what has changed of certificates, keys and revocation lists as a handshake would. Files
 * that are used together are taken together or not at all.
 */
export function tryMaterial(
  config: GatewayConfig,
  known: Readonly<Record<string, string>>,
  now: Readonly<Record<string, string>>,
): Trial {
  const files: Record<string, string> = { ...known, ...now };
  const refused: { paths: readonly string[]; why: string }[] = [];
  const groups = groupsOf(config);
  // A file taken back may be of other groups too; each pass takes back at least one group.
  for (let pass = 0; pass <= groups.length; pass++) {
    const before = refused.length;
    for (const group of groups) {
      if (group.paths.every((path) => files[path] === known[path])) continue;
      try {
        group.try((path) => files[path] ?? '');
      } catch (error) {
        refused.push({ paths: group.paths, why: errorText(error) });
        for (const path of group.paths) files[path] = known[path] ?? '';
      }
    }
    if (refused.length === before) break;
  }
  return { files, refused };
}
