import type { Logger } from '../base/logger.ts';
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import type { ConfigSource } from './config-source.ts';

const LOOK_EVERY_MS = 500;

/**
 * Follows the files that the configuration names (certificates, keys, pages). Looked at twice a
 * second, because directories swapped by symlink raise no event. A file that is gone keeps its
 * last contents; the listeners refuse a pair that does not match and keep the old one.
 */
export function watchMaterial(
  supervisor: Supervisor,
  source: ConfigSource,
  logger: Logger,
): () => void {
  const timer = setInterval(() => {
    const known = supervisor.material.files;
    const now = source.material(supervisor.config).files;
    const changed = Object.keys(now).filter((path) => now[path] !== known[path]);
    if (changed.length === 0) return;
    logger.info('files changed', { changed });
    supervisor.replaceMaterial({ files: { ...known, ...now } });
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
