import type { Container, ContainerMount } from '../model/container.ts';
import type { ImageInfo, TaskMount, TaskSpec } from '../model/task-spec.ts';
import { hostsFile, linkEnv, resolvConf } from './host-files.ts';
import { shortId } from './ids.ts';
import type { CompileContext } from './topology.ts';

/** The id of the sandbox that a container runs in; `host`: the host's own network. */
export function sandboxOf({ id, spec }: Container, { registry }: CompileContext): string {
  const { mode } = spec;
  if (mode.kind === 'host') return 'host';
  if (mode.kind !== 'container') return id;
  const peer = registry.findContainer(mode.id);
  return peer?.spec.mode.kind === 'host' ? 'host' : mode.id;
}

/** Whose hosts and resolv.conf a container sees: with a shared stack the other's. */
function fileOwner(container: Container, { registry }: CompileContext): Container {
  const { mode } = container.spec;
  return mode.kind === 'container' ? (registry.findContainer(mode.id) ?? container) : container;
}

/** A container's host name as its processes see it. */
export function hostnameOf(container: Container, context: CompileContext): string {
  const { spec, id } = fileOwner(container, context);
  if (spec.hostname !== '') return spec.hostname;
  return spec.mode.kind === 'host' ? context.facts.hostname() : shortId(id);
}

/** What it was given wins over what its links bring. */
function taskEnv(container: Container, context: CompileContext): string[] {
  const name = (entry: string) => entry.split('=')[0];
  const given = new Set(container.spec.env.map(name));
  const linked = linkEnv(container, context).filter((entry) => !given.has(name(entry)));
  // A name alone takes a variable away.
  return [...linked, ...container.spec.env.filter((entry) => entry.includes('='))];
}

/** How deep a path is. */
function depth(path: string): number {
  return path.split('/').filter(Boolean).length;
}

/** What is to be mounted, so that one target may lie in another. */
function taskMounts(mounts: readonly ContainerMount[], { registry }: CompileContext): TaskMount[] {
  return [...mounts]
    .sort((a, b) => depth(a.target) - depth(b.target))
    .map(({ anonymous, mode, ...mount }) =>
      mount.kind === 'volume'
        ? { ...mount, source: registry.volume(mount.source).path, makeSource: true }
        : mount,
    );
}

/** What the runtime is told, complete. */
export function taskSpec(
  container: Container,
  image: Pick<ImageInfo, 'id' | 'runtime' | 'names'>,
  context: CompileContext,
): TaskSpec {
  const { spec, id } = container;
  const hostname = hostnameOf(container, context);
  const owner = fileOwner(container, context);
  return {
    id,
    runtime: image.runtime,
    image: image.runtime === 'podman' ? image.id : (image.names[0] ?? spec.image),
    argv: [...spec.entrypoint, ...spec.command],
    env: taskEnv(container, context),
    cwd: spec.cwd,
    user: spec.user,
    groups: spec.groups,
    hostname,
    tty: spec.tty,
    openStdin: spec.openStdin,
    sandbox: sandboxOf(container, context),
    hosts: hostsFile(owner, context),
    resolvConf: resolvConf(owner, context),
    mounts: taskMounts(spec.mounts, context),
    capabilities: spec.capabilities,
    noNewPrivileges: spec.noNewPrivileges,
    pidHost: spec.pidHost,
    privileged: spec.privileged,
    limits: spec.limits,
  };
}
