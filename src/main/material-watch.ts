import type { Logger } from '../base/logger.ts';
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { tryMaterial } from '../net/tls-trial.ts';
import type { ConfigSource } from './config-source.ts';

const LOOK_EVERY_MS = 500;

/**
 * Follows the files that the configuration names (certificates, keys, pages). Looked at twice a
 * second, because directories swapped by symlink raise no event. A file that is gone keeps its
 * last contents, and so does what cannot be used: half of a file, a key of another certificate.
 */
export function watchMaterial(
  supervisor: Supervisor,
  source: ConfigSource,
  logger: Logger,
): () => void {
  let told = '';
  const timer = setInterval(() => {
    const known = supervisor.material.files;
    const now = source.material(supervisor.config).files;
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
