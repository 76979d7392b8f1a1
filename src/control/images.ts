import { errorText } from '../base/errors.ts';
import { conflict, failed, invalid, notFound, unsupported } from '../base/faults.ts';
import type { TaskStreams } from '../link/agent-port.ts';
import { imageReference } from '../model/image-name.ts';
import type { ImageInfo, ImageUpload } from '../model/task-spec.ts';
import { findImage, needImage } from './container-order.ts';
import { type Distribution, inspectDistribution, isInsecure } from './distribution/distribution.ts';
import { shortId } from './ids.ts';
import type { ControlParts } from './parts.ts';

/** What became of an image that was to be removed. */
export type ImageRemoval = { readonly untagged: readonly string[]; readonly deleted: boolean };

const NAME =
  /^(?:[a-zA-Z0-9.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?$/;

function tagged(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1).includes(':') ? name : `${name}:latest`;
}

/** A name with its tag. Throws for what is none. */
export function imageName(name: string, tag: string): string {
  const full = tag === '' ? tagged(name) : `${name}:${tag}`;
  if (!NAME.test(full)) throw invalid('invalid reference format');
  return full;
}

type PullOrder = Omit<Extract<ImageUpload, { kind: 'pull' }>, 'kind' | 'insecure'>;

/** The images that containers of this host can be made of. */
export class Images {
  readonly #parts: ControlParts;
  readonly #pulling = new Map<string, Promise<void>>();

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  list(): Promise<readonly ImageInfo[]> {
    return this.#parts.agent.images();
  }

  async find(key: string): Promise<ImageInfo | undefined> {
    return findImage(await this.list(), key);
  }

  async need(key: string): Promise<ImageInfo> {
    return needImage(await this.list(), key);
  }

  async tag(key: string, name: string): Promise<void> {
    const image = await this.need(key);
    checkOwn(image);
    await this.#parts.agent.tagImage(image.id, name);
    this.#tell('tag', image.id, name);
  }

  /** An image that has other names loses the one that was given. */
  async remove(key: string, force: boolean): Promise<ImageRemoval> {
    const image = await this.need(key);
    checkOwn(image);
    const familiar = tagged(key.replace(/^docker\.io\/(library\/)?/, ''));
    const given = image.names.find((name) => name === familiar);
    const further = image.names.length > 1;
    if (given === undefined && further && !force) {
      throw conflict(
        `conflict: unable to delete ${shortImage(image)} (must be forced) - image is referenced in multiple repositories`,
      );
    }
    if (given === undefined || !further) this.#checkUnused(image, key);
    const keys = given === undefined ? image.names : [given];
    try {
      for (const one of keys.length > 0 ? keys : [image.id]) {
        await this.#parts.agent.removeImage(one);
      }
    } catch (error) {
      throw conflict(`conflict: unable to delete ${shortImage(image)}: ${errorText(error)}`);
    }
    for (const name of keys) this.#tell('untag', image.id, name);
    const deleted = !(await this.list()).some(({ id }) => id === image.id);
    if (deleted) this.#tell('delete', image.id, image.id);
    return { untagged: keys, deleted };
  }

  /** Removes images that nothing names, or with `all` every one, that no container is made of. */
  async prune(all: boolean): Promise<{ deleted: string[]; bytes: number }> {
    const deleted: string[] = [];
    let bytes = 0;
    for (const image of await this.list()) {
      const idle = image.runtime === 'podman' && !this.#user(image);
      if (!idle || (!isDangling(image) && !all)) continue;
      // One that others of podman's users need stays.
      const removal = await this.remove(image.id, true).catch(() => undefined);
      if (!removal?.deleted) continue;
      deleted.push(image.id);
      bytes += image.sizeBytes;
    }
    return { deleted, bytes };
  }

  /** Asks the registry of an image for its digest and platforms; `login` is `user:password` or empty. */
  distribution(name: string, login: string): Promise<Distribution> {
    return inspectDistribution(name, { login, insecure: this.#isInsecure(name) });
  }

  /** Pulls an image that is not there, once for all that ask. Throws with the registry's reason. */
  async obtain(name: string, login: string): Promise<void> {
    if (await this.find(name)) return;
    const pulling =
      this.#pulling.get(name) ??
      this.pull({ name, platform: '', credentials: login }).finally(() =>
        this.#pulling.delete(name),
      );
    this.#pulling.set(name, pulling);
    try {
      await pulling;
    } catch (error) {
      throw notFound(`No such image: ${name}: ${errorText(error)}`);
    }
  }

  #isInsecure(name: string): boolean {
    const { insecureRegistries } = this.#parts.plane.context.options;
    return isInsecure(imageReference(name).registry, insecureRegistries);
  }

  /** Takes an image from its registry. Throws with the registry's reason. */
  async pull(order: PullOrder): Promise<void> {
    const insecure = this.#isInsecure(order.name);
    const streams = await this.#parts.agent.uploadImage({ kind: 'pull', ...order, insecure });
    const answer = uploadAnswer(streams);
    streams.endInput();
    const id = await answer;
    this.#tell('pull', order.name, order.name);
    this.#parts.logger.info('image pulled', { image: order.name, id });
  }

  /** An archive of images. Throws when one is not there. */
  async save(keys: readonly string[]): Promise<TaskStreams> {
    const images = await this.list();
    const stored = keys.map((key) => {
      const image = needImage(images, key);
      checkOwn(image);
      const name = tagged(key.replace(/^docker\.io\/(library\/)?/, ''));
      this.#tell('save', image.id, key);
      return image.names.includes(name) ? name : image.id;
    });
    return this.#parts.agent.saveImages(stored);
  }

  /** Where the bytes of images go. */
  async upload(upload: ImageUpload): Promise<TaskStreams> {
    return this.#parts.agent.uploadImage(upload);
  }

  uploaded(kind: ImageUpload['kind'], id: string, name: string): void {
    this.#tell(kind, id, name);
  }

  #user({ id }: ImageInfo) {
    return [...this.#parts.registry.containers].find((container) => container.imageId === id);
  }

  #checkUnused(image: ImageInfo, key: string): void {
    const user = this.#user(image);
    if (!user) return;
    const runs = user.state.status === 'running' || user.state.status === 'paused';
    throw conflict(
      runs
        ? `conflict: unable to delete ${key} (cannot be forced) - container ${shortId(user.id)} is using its referenced image ${shortImage(image)}`
        : `conflict: unable to remove repository reference "${key}" - container ${shortId(user.id)} is using its referenced image ${shortImage(image)}: remove the container first`,
    );
  }

  #tell(action: string, id: string, name: string): void {
    this.#parts.events.emit('image', action, id, { name });
  }
}

/** Whether neither a tag nor a digest leads to an image any more. */
export function isDangling({ names, digests }: ImageInfo): boolean {
  return names.length + digests.length === 0;
}

function shortImage({ id }: ImageInfo): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

function checkOwn({ runtime }: ImageInfo): void {
  if (runtime === 'podman') return;
  throw unsupported('the image "host" is the file system of the host: it has this one name');
}

/** Feeds an upload and resolves with what its runtime answered. Rejects with its reason. */
export function uploadAnswer(streams: TaskStreams): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer: string | undefined;
    let reason = 'the runtime ended without an answer';
    streams.onOutput = (stream, data) => {
      if (stream === 'stdout') answer = (answer ?? '') + data.toString();
      else reason = data.toString();
    };
    streams.onEnd = () => {
      if (answer === undefined) reject(failed(reason));
      else resolve(answer);
    };
  });
}
