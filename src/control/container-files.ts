import { SluiceError } from '../base/errors.ts';
import { notFound } from '../base/faults.ts';
import type { TaskStreams } from '../link/agent-port.ts';
import type { Container } from '../model/container.ts';
import type { CommitOrder, FileStat } from '../model/task-spec.ts';
import { needImage } from './container-order.ts';
import { type ControlParts, tell } from './parts.ts';
import { taskSpec } from './task-spec.ts';

/** The files of containers, whether they run, have ended or are yet to start. */
export class ContainerFiles {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** Throws `E_OBJECT_NOT_FOUND`. */
  stat(key: string, path: string): Promise<FileStat> {
    return this.#of(key, path, ({ id }) => this.#parts.agent.statFile(id, path));
  }

  /** What a path names, and an archive of it. */
  async read(key: string, path: string): Promise<{ stat: FileStat; streams: TaskStreams }> {
    const stat = await this.stat(key, path);
    const streams = await this.#of(key, path, ({ id }) =>
      this.#parts.agent.openFiles({ kind: 'read', task: id, path }),
    );
    tell(this.#parts, 'archive-path', this.#parts.registry.container(key), { path });
    return { stat, streams };
  }

  /** Where an archive goes that is to be unpacked in a directory. */
  async write(key: string, path: string, own: boolean): Promise<TaskStreams> {
    const streams = await this.#of(key, path, ({ id }) =>
      this.#parts.agent.openFiles({ kind: 'write', task: id, path, own }),
    );
    tell(this.#parts, 'extract-to-dir', this.#parts.registry.container(key), { path });
    return streams;
  }

  /** All its files as one archive. */
  async export(key: string): Promise<TaskStreams> {
    const streams = await this.#of(key, '/', ({ id }) =>
      this.#parts.agent.openFiles({ kind: 'export', task: id }),
    );
    tell(this.#parts, 'export', this.#parts.registry.container(key));
    return streams;
  }

  /** Makes an image of its files; returns the image's id. */
  async commit(key: string, order: Omit<CommitOrder, 'task'>): Promise<string> {
    const image = await this.#of(key, '/', ({ id, spec }) => {
      // What it runs, as it was asked for, not as its runtime was told.
      const [entrypoint, command] = [spec.entrypoint, spec.command].map((one) =>
        JSON.stringify(one),
      );
      const own = [`ENTRYPOINT ${entrypoint}`, `CMD ${command}`];
      return this.#parts.agent.commitTask({
        ...order,
        task: id,
        changes: [...own, ...order.changes],
      });
    });
    const attributes = { comment: order.message, imageID: image, imageRef: order.name };
    tell(this.#parts, 'commit', this.#parts.registry.container(key), attributes);
    return image;
  }

  async #of<T>(key: string, path: string, use: (container: Container) => Promise<T>): Promise<T> {
    const container = this.#parts.registry.container(key);
    await this.#ensureTask(container);
    try {
      return await use(container);
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'E_OBJECT_NOT_FOUND') throw error;
      throw notFound(`Could not find the file ${path} in container ${key}`);
    }
  }

  /** One that has not started has files as well: those that its task will have. */
  async #ensureTask({ id }: Container): Promise<void> {
    const { agent, lock, registry, plane } = this.#parts;
    await lock.run(id, async () => {
      if ((await agent.tasks()).some((task) => task.id === id)) return;
      const container = registry.container(id);
      const image = needImage(await agent.images(), container.imageId);
      await agent.createTask(taskSpec(container, image, plane.context));
    });
  }
}
