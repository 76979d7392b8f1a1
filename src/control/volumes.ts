import { conflict, invalid, notFound, unsupported } from '../base/faults.ts';
import type { Container, ContainerMount } from '../model/container.ts';
import type { ImageInfo } from '../model/task-spec.ts';
import type { Volume } from '../model/volume.ts';
import { newId, stamp } from './ids.ts';
import type { ControlParts } from './parts.ts';

/** The label of a volume that was made without a name. */
export const ANONYMOUS = 'com.docker.volume.anonymous';
export const VOLUME_DRIVER = 'local';

/** Volumes kept at once; more are refused. */
const MAX_VOLUMES = 10_000;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** All volumes share one lock: what a container is about to use must not go. */
const LOCK = 'volumes';

/** A volume as it is asked for. */
export type VolumeRequest = {
  /** Empty: one is made up. */
  readonly name: string;
  /** Empty: the only one that there is. */
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
};

/** A mount as it is asked for; a volume without a source is made for the container. */
export type MountRequest = ContainerMount & {
  readonly volume?: Omit<VolumeRequest, 'name'>;
};

/** The mounts of a container as they are asked for. */
export type MountOrder = {
  readonly mounts: readonly MountRequest[];
  /** `container`, `container:ro` or `container:rw`, whose mounts are taken over. */
  readonly from: readonly string[];
  /** Targets that get a volume of their own unless something else is mounted there. */
  readonly anonymous: readonly string[];
};

const PLAIN: Omit<VolumeRequest, 'name'> = { driver: '', options: {}, labels: {} };

function checkVolume({ name, driver, options }: VolumeRequest): void {
  if (driver !== '' && driver !== VOLUME_DRIVER) throw notFound(`plugin "${driver}" not found`);
  const [option] = Object.keys(options);
  if (option !== undefined) {
    throw unsupported(`create ${name}: the option "${option}" of volumes is not served`);
  }
  if (name.length === 1) {
    throw invalid(
      `create ${name}: volume name is too short, names should be at least two alphanumeric characters`,
    );
  }
  if (NAME.test(name)) return;
  throw invalid(
    `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
  );
}

function checkTargets(mounts: readonly MountRequest[]): void {
  const seen = new Set<string>();
  for (const { target } of mounts) {
    if (seen.has(target)) throw invalid(`Duplicate mount point: ${target}`);
    seen.add(target);
  }
}

function anonymousMount(target: string): MountRequest {
  return { kind: 'volume', source: '', target, readOnly: false, options: [], mode: '' };
}

/** The volumes of this host. */
export class Volumes {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** One that is there already is returned as it is. */
  create(request: VolumeRequest): Promise<Volume> {
    return this.#parts.lock.run(LOCK, () => this.#ensure(request));
  }

  /** Throws in the words that users know while a container has it. */
  async remove(name: string): Promise<void> {
    await this.#parts.lock.run(LOCK, async () => {
      const volume = this.#parts.registry.volume(name);
      const users = this.users(name).map(({ id }) => id);
      if (users.length > 0) {
        throw conflict(`remove ${name}: volume is in use - [${users.join(', ')}]`);
      }
      await this.#drop(volume);
    });
  }

  /** Removes what no container has and `wanted` agrees to. */
  async prune(wanted: (volume: Volume) => boolean): Promise<{ names: string[]; bytes: number }> {
    const { registry, agent, events, lock } = this.#parts;
    const names: string[] = [];
    let bytes = 0;
    for (const volume of [...registry.volumes].filter(wanted)) {
      await lock.run(LOCK, async () => {
        if (!registry.findVolume(volume.name) || this.users(volume.name).length > 0) return;
        bytes += await agent.volumeBytes(volume.name);
        await this.#drop(volume);
        names.push(volume.name);
      });
    }
    events.emit('volume', 'prune', '', { reclaimed: String(bytes) });
    return { names, bytes };
  }

  /** The containers that have a volume, whether they run or not. */
  users(name: string): Container[] {
    return [...this.#parts.registry.containers].filter(({ spec }) =>
      spec.mounts.some(({ kind, source }) => kind === 'volume' && source === name),
    );
  }

  /**
   * Makes the volumes that a container needs and hands its mounts to `keep`, which stores it;
   * nothing that it uses can go in between. When anything fails no volume without a name is left.
   */
  async provide<T>(
    order: MountOrder,
    image: Pick<ImageInfo, 'volumes'>,
    keep: (mounts: ContainerMount[]) => T,
  ): Promise<T> {
    const requests = this.#requests(order, image);
    return this.#parts.lock.run(LOCK, async () => {
      const made: Volume[] = [];
      try {
        const mounts: ContainerMount[] = [];
        for (const request of requests) mounts.push(await this.#mount(request, made));
        return keep(mounts);
      } catch (error) {
        for (const volume of made) await this.#drop(volume).catch(() => {});
        throw error;
      }
    });
  }

  /** Removes the volumes that were made for a container which is gone, but those that others have. */
  async release({ spec }: Container): Promise<void> {
    for (const { kind, source, anonymous } of spec.mounts) {
      if (kind !== 'volume' || !anonymous) continue;
      await this.#parts.lock.run(LOCK, async () => {
        const volume = this.#parts.registry.findVolume(source);
        if (volume && this.users(source).length === 0) await this.#drop(volume);
      });
    }
  }

  #requests(order: MountOrder, { volumes }: Pick<ImageInfo, 'volumes'>): MountRequest[] {
    checkTargets(order.mounts);
    const own = new Set(order.mounts.map(({ target }) => target));
    const taken = new Map<string, MountRequest>();
    for (const from of order.from) {
      for (const mount of this.#mountsOf(from)) {
        if (!own.has(mount.target)) taken.set(mount.target, mount);
      }
    }
    const further = [...new Set([...volumes, ...order.anonymous])].filter(
      (target) => !own.has(target) && !taken.has(target),
    );
    return [...taken.values(), ...order.mounts, ...further.map(anonymousMount)];
  }

  #mountsOf(from: string): MountRequest[] {
    const [, key = '', mode = 'rw'] = /^(.*?)(?::([^:]*))?$/.exec(from) ?? [];
    if (mode !== 'rw' && mode !== 'ro') throw invalid(`invalid mode: ${mode}`);
    if (key === '') throw invalid(`malformed volumes-from specification: ${from}`);
    const { spec } = this.#parts.registry.container(key);
    return spec.mounts.map((mount) => ({
      ...mount,
      mode: '',
      readOnly: mount.readOnly || mode === 'ro',
    }));
  }

  async #mount(request: MountRequest, made: Volume[]): Promise<ContainerMount> {
    const { volume = PLAIN, ...mount } = request;
    if (mount.kind !== 'volume') return mount;
    const found = await this.#ensure({ ...volume, name: mount.source });
    if (mount.source !== '') return mount;
    made.push(found);
    return { ...mount, source: found.name, anonymous: true };
  }

  /** The lock is held. */
  async #ensure(request: VolumeRequest): Promise<Volume> {
    const { registry, agent, clock, events } = this.#parts;
    const anonymous = request.name === '';
    const name = anonymous ? newId() : request.name;
    checkVolume({ ...request, name });
    const former = registry.findVolume(name);
    if (former) return former;
    if (registry.volumeCount >= MAX_VOLUMES) {
      throw conflict(`there are ${MAX_VOLUMES} volumes, which is the maximum: remove some`);
    }
    const path = await agent.createVolume(name);
    const labels = anonymous ? { ...request.labels, [ANONYMOUS]: '' } : request.labels;
    const volume = { name, created: stamp(clock), labels, path };
    registry.putVolume(volume);
    events.emit('volume', 'create', name, { driver: VOLUME_DRIVER });
    return volume;
  }

  /** The lock is held. The files go first: what has a name can be removed again. */
  async #drop({ name }: Volume): Promise<void> {
    const { registry, agent, events } = this.#parts;
    await agent.removeVolume(name);
    registry.dropVolume(name);
    events.emit('volume', 'destroy', name, { driver: VOLUME_DRIVER });
  }
}
