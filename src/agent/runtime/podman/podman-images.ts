import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../../base/errors.ts';
import type { TaskStreams } from '../../../link/agent-port.ts';
import type { HealthRequest } from '../../../model/container.ts';
import { canonicalName, familiarName, imageReference } from '../../../model/image-name.ts';
import type { ImageInfo, ImageUpload } from '../../../model/task-spec.ts';
import type { AgentTools } from '../../plane/tools.ts';
import { DownloadStreams, UploadStreams } from '../child-streams.ts';
import { type Podman, podmanReason } from './podman.ts';

/** Images looked at by one command. */
const INSPECTED_AT_ONCE = 200;
const NS_PER_MS = 1_000_000;

/** The part of what podman tells of an image that matters here. */
type Told = {
  readonly Id: string;
  readonly RepoTags?: readonly string[] | null;
  readonly RepoDigests?: readonly string[] | null;
  readonly Created?: string;
  readonly Size?: number;
  readonly Healthcheck?: {
    readonly Test?: readonly string[];
    readonly Interval?: number;
    readonly Timeout?: number;
    readonly StartPeriod?: number;
    readonly Retries?: number;
  };
  readonly Config?: {
    readonly Entrypoint?: readonly string[] | null;
    readonly Cmd?: readonly string[] | null;
    readonly Env?: readonly string[] | null;
    readonly WorkingDir?: string;
    readonly User?: string;
    readonly ExposedPorts?: Readonly<Record<string, unknown>> | null;
    readonly Volumes?: Readonly<Record<string, unknown>> | null;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly StopSignal?: string;
  };
};

/** Podman tells times in ns; 0 is not said. */
function healthOf({ Healthcheck }: Told): HealthRequest | undefined {
  const { Test = [], Interval, Timeout, StartPeriod, Retries } = Healthcheck ?? {};
  const [kind, ...argv] = Test;
  if (kind === 'NONE') return 'none';
  if (kind !== 'CMD' && kind !== 'CMD-SHELL') return undefined;
  return {
    ...{ argv, shell: kind === 'CMD-SHELL' },
    ...(Interval ? { intervalMs: Interval / NS_PER_MS } : {}),
    ...(Timeout ? { timeoutMs: Timeout / NS_PER_MS } : {}),
    ...(StartPeriod ? { startPeriodMs: StartPeriod / NS_PER_MS } : {}),
    ...(Retries ? { retries: Retries } : {}),
  };
}

function imageInfo(told: Told): ImageInfo {
  const { Id, RepoTags, RepoDigests, Created, Size, Config = {} } = told;
  return {
    id: `sha256:${Id}`,
    names: (RepoTags ?? []).map(familiarName),
    digests: (RepoDigests ?? []).map(familiarName),
    runtime: 'podman',
    created: Created ?? '1970-01-01T00:00:00Z',
    sizeBytes: Size ?? 0,
    entrypoint: Config.Entrypoint ?? [],
    command: Config.Cmd ?? [],
    // An image that is made of a container has that one's name, which is nobody else's.
    env: (Config.Env ?? []).filter((entry) => !entry.startsWith('HOSTNAME=')),
    cwd: Config.WorkingDir ?? '',
    user: Config.User ?? '',
    exposed: Object.keys(Config.ExposedPorts ?? {}),
    volumes: Object.keys(Config.Volumes ?? {}),
    labels: Config.Labels ?? {},
    stopSignal: Config.StopSignal || undefined,
    health: healthOf(told),
  };
}

type Store = { readonly root: string; readonly driver: string };

/** The images of the host's podman. */
export class PodmanImages {
  readonly #podman: Podman;
  readonly #tools: AgentTools;
  #store: Promise<Store | undefined> | undefined;
  #known: { readonly version: string; readonly images: Promise<readonly ImageInfo[]> } | undefined;

  constructor(podman: Podman, tools: AgentTools) {
    this.#podman = podman;
    this.#tools = tools;
  }

  /** Empty also where there is no podman. */
  async list(): Promise<readonly ImageInfo[]> {
    if (!this.#podman.installed) return [];
    const store = await this.#findStore();
    if (!store) return [];
    // Also what others do to the images changes this file.
    const version = versionOf(join(store.root, `${store.driver}-images`, 'images.json'));
    if (version === '') return [];
    if (this.#known?.version !== version) this.#known = { version, images: this.#inspect() };
    try {
      return await this.#known.images;
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }

  async #inspect(): Promise<readonly ImageInfo[]> {
    const ids = await this.#podman.must('images', '--quiet', '--no-trunc');
    const all = [...new Set(ids.split('\n').filter(Boolean))];
    const infos: ImageInfo[] = [];
    for (let at = 0; at < all.length; at += INSPECTED_AT_ONCE) {
      const some = all.slice(at, at + INSPECTED_AT_ONCE).map((id) => id.replace(/^sha256:/, ''));
      const text = await this.#podman.must('image', 'inspect', ...some);
      // exempt(as): podman's documented answer
      infos.push(...(JSON.parse(text) as Told[]).map(imageInfo));
    }
    return infos;
  }

  #findStore(): Promise<Store | undefined> {
    this.#store ??= this.#podman
      .must('info', '--format', '{{.Store.GraphRoot}}\n{{.Store.GraphDriverName}}')
      .then((text) => {
        const [root = '', driver = ''] = text.split('\n');
        return { root, driver };
      })
      .catch((error: unknown) => {
        this.#store = undefined;
        const reason = errorText(error);
        this.#tools.logger.warn('podman does not work on this host', { reason });
        return undefined;
      });
    return this.#store;
  }

  /** Whether there may be a container of this name. */
  async storeMentions(name: string): Promise<boolean> {
    if (!this.#podman.installed) return false;
    const store = await this.#findStore();
    if (!store) return false;
    try {
      const path = join(store.root, `${store.driver}-containers`, 'containers.json');
      return readFileSync(path, 'utf8').includes(name);
    } catch {
      return false;
    }
  }

  async tag(id: string, name: string): Promise<void> {
    await this.#podman.must('tag', id.replace(/^sha256:/, ''), canonicalName(name));
  }

  /** A name alone goes while the image has others. */
  async remove(key: string): Promise<void> {
    const stored = (await this.#storedNames()).find((name) => familiarName(name) === key);
    // Never by force: that would take others' containers along.
    await this.#podman.must('rmi', stored ?? key.replace(/^sha256:/, ''));
  }

  async #storedNames(): Promise<string[]> {
    const format = '{{.Repository}}:{{.Tag}}';
    return (await this.#podman.must('images', '--format', format)).split('\n');
  }

  /**
   * Takes images from a stream or a registry. The answer is one piece: on `stdout` what podman
   * printed, on `stderr` why it failed.
   */
  upload(upload: ImageUpload): TaskStreams {
    if (upload.kind === 'pull') return this.#pull(upload);
    const args =
      upload.kind === 'load'
        ? ['load']
        : [
            'import',
            ...upload.changes.map((change) => `--change=${change}`),
            ...(upload.message === '' ? [] : [`--message=${upload.message}`]),
            '-',
            ...(upload.name === '' ? [] : [canonicalName(upload.name)]),
          ];
    return new UploadStreams(this.#podman.spawn(...args), podmanReason);
  }

  #pull(order: Extract<ImageUpload, { kind: 'pull' }>): TaskStreams {
    const { platform, credentials, insecure } = order;
    const { registry, repository, tag, digest } = imageReference(order.name);
    // Podman takes one or the other.
    const full = `${registry}/${repository}${digest === '' ? `:${tag}` : `@${digest}`}`;
    const args = ['pull', '--quiet', ...(platform === '' ? [] : [`--platform=${platform}`])];
    if (insecure) args.push('--tls-verify=false');
    if (credentials === '') {
      return new UploadStreams(this.#podman.spawn(...args, full), podmanReason);
    }
    // Not as an argument, which everybody on the host can read.
    const folder = mkdtempSync(join(this.#tools.execRoot, 'auth-'));
    const file = join(folder, 'auth.json');
    const auth = Buffer.from(credentials).toString('base64');
    const auths = { [registry]: { auth } };
    writeFileSync(file, JSON.stringify({ auths }), { mode: 0o600 });
    const child = this.#podman.spawn(...args, `--authfile=${file}`, full);
    child.once('close', () => rmSync(folder, { recursive: true, force: true }));
    return new UploadStreams(child, podmanReason);
  }

  /** Images as one archive, by their names or ids. */
  save(keys: readonly string[]): TaskStreams {
    const stored = keys.map((key) => (/^sha256:/.test(key) ? key.slice(7) : canonicalName(key)));
    const args = ['save', '--format=docker-archive', '--multi-image-archive', '--', ...stored];
    return new DownloadStreams(this.#podman.spawnToPipe(...args), podmanReason);
  }
}

function versionOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return '';
  }
}
