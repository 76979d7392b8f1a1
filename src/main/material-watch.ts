import type { Logger } from '../base/logger.ts';
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { tryMaterial } from '../net/tls-trial.ts';
import type { ConfigSource } from './config-source.ts';

const LOOK_EVERY_MS = 500;

/** What stays in force of files that are as they were when something else took their place. */
function pinned(
  pins: Map<string, string>,
  read: Readonly<Record<string, string>>,
  known: Readonly<Record<string, string>>,
): Record<string, string> {
  for (const [path, then] of pins) if (read[path] !== then) pins.delete(path);
  return Object.fromEntries([...pins.keys()].map((path) => [path, known[path] ?? '']));
}

/**
 * Puts a certificate with its key, one after the other in PEM, in the place of the files that
 * listeners name, until these change or a reload reads them. Why not, in words.
 */
export function replaceCertificate(
  supervisor: Supervisor,
  source: ConfigSource,
  pins: Map<string, string>,
  file: string,
  pem: string,
): string | undefined {
  const { listeners } = supervisor.config;
  const all = Object.values(listeners).flatMap(({ tls }) => tls?.certificates ?? []);
  const pair = all.find(({ cert }) => cert === file);
  if (!pair) return `no listener names ${file}`;
  const blocks = pem.match(/-----BEGIN ([A-Z0-9 ]+)-----[^-]+-----END \1-----/g) ?? [];
  const isKey = (block: string) => /^-----BEGIN [A-Z ]*PRIVATE KEY/.test(block);
  const text = (own: string[]) => own.map((block) => `${block}\n`).join('');
  const given = { [pair.cert]: text(blocks.filter((block) => !isKey(block))) };
  const keys = blocks.filter(isKey);
  if (keys.length > 0) given[pair.key] = text(keys);
  const known = supervisor.material.files;
  const { files, refused } = tryMaterial(supervisor.config, known, { ...known, ...given });
  const [fault] = refused;
  if (fault) return fault.why;
  const read = source.material(supervisor.config).files;
  for (const path of Object.keys(given)) pins.set(path, read[path] ?? '');
  supervisor.noteMaterial('applied');
  supervisor.replaceMaterial({ files });
  return undefined;
}

/**
 * Follows the files that the configuration names (certificates, keys, pages). Looked at twice a
 * second, because directories swapped by symlink raise no event. A file that is gone keeps its
 * last contents, and so does what cannot be used: half of a file, a key of another certificate. Files
 * in `pins` were replaced by order: what they held then says nothing new.
 */
export function watchMaterial(
  supervisor: Supervisor,
  source: ConfigSource,
  logger: Logger,
  pins: Map<string, string>,
): () => void {
  let told = '';
  const timer = setInterval(() => {
    const known = supervisor.material.files;
    const read = source.material(supervisor.config).files;
    const now = { ...read, ...pinned(pins, read, known) };
    if (Object.keys(now).every((path) => now[path] === known[path])) {
      told = '';
      return;
    }
    const { files, refused } = tryMaterial(supervisor.config, known, now);
    const complaint = JSON.stringify([
      refused,
      refused.flatMap(({ paths }) => paths.map((p) => now[p])),
    ]);
    if (refused.length > 0 && complaint !== told) {
      supervisor.noteMaterial('refused');
      logger.error('changed files cannot be used; the old contents stay in force', { refused });
    }
    told = complaint;
    const changed = Object.keys(files).filter((path) => files[path] !== known[path]);
    if (changed.length === 0) return;
    supervisor.noteMaterial('applied');
    logger.info('files changed', { changed });
    supervisor.replaceMaterial({ files });
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
