import type { CgroupMounts } from '../../../kernel/cgroup.ts';
import type { TaskSpec } from '../../../model/task-spec.ts';
import type { AgentTools } from '../../plane/tools.ts';
import type { Task, TaskEvents, TaskHome } from '../task.ts';
import { Podman } from './podman.ts';
import { PodmanImages } from './podman-images.ts';
import { containerName, PodmanTask } from './podman-task.ts';

/** Tasks of OCI images, in containers of the host's podman. */
export class PodmanRuntime {
  readonly images: PodmanImages;
  readonly #tools: AgentTools;
  readonly #podman: Podman;

  constructor(tools: AgentTools, cgroups: CgroupMounts | undefined) {
    this.#tools = tools;
    this.#podman = new Podman(tools, cgroups);
    this.images = new PodmanImages(this.#podman, tools);
  }

  make(home: TaskHome, spec: TaskSpec, events: TaskEvents): Task {
    return new PodmanTask(this.#podman, this.#tools, home, spec, events);
  }

  /** Removes the container of a task that nobody knows any more, after a restart of the host. */
  async forget(id: string): Promise<void> {
    const name = containerName(this.#tools, id);
    if (!(await this.images.storeMentions(name))) return;
    await this.#podman.must('rm', '--force', '--time=0', '--volumes', '--ignore', name);
  }
}
