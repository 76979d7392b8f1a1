import { conflict, invalid, notFound } from '../base/faults.ts';
import type {
  AttachmentRequest,
  ContainerHealthCheck,
  ContainerPort,
  ContainerSpec,
  HealthRequest,
  NetworkMode,
  RestartRule,
} from '../model/container.ts';
import type { ImageInfo } from '../model/task-spec.ts';
import type { MountOrder } from './volumes.ts';

/** A container as it is asked for; the image fills what is undefined. */
export type ContainerOrder = {
  /** Undefined: one is made up. */
  readonly name: string | undefined;
  readonly spec: Omit<
    ContainerSpec,
    'mode' | 'entrypoint' | 'cwd' | 'user' | 'stopSignal' | 'image' | 'mounts' | 'health'
  >;
  readonly mounts: MountOrder;
  readonly image: string;
  /** Empty list: the image's is cleared. */
  readonly entrypoint: readonly string[] | undefined;
  readonly cwd: string | undefined;
  readonly user: string | undefined;
  readonly stopSignal: string | undefined;
  readonly health: HealthRequest | undefined;
  readonly uts: 'own' | 'host';
  /** `bridge`, `none`, `host`, `container:NAME`, or a network. */
  readonly networkMode: string;
  readonly attachments: readonly AttachmentRequest[];
  readonly asked: unknown;
};

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const RULES = ['no', 'always', 'unless-stopped', 'on-failure'];
const DEFAULT_SIGNAL = 'SIGTERM';
const DEFAULT_HEALTH = {
  intervalMs: 30_000,
  timeoutMs: 30_000,
  startPeriodMs: 0,
  startIntervalMs: 5000,
  retries: 3,
};

/** Throws when it is no name that a container may have. */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
}

/** An image by name, with a tag, a digest or without both, or by the beginning of its id. */
export function findImage(images: readonly ImageInfo[], key: string): ImageInfo | undefined {
  const [bare = key, digest] = key.split('@');
  if (digest !== undefined) {
    return images.find(({ id, digests }) => {
      return id === digest || digests.some((one) => one.endsWith(`@${digest}`));
    });
  }
  const short = bare.replace(/^(docker\.io\/)?(library\/)?/, '');
  const tagged = /:[^/]*$/.test(short) ? short : `${short}:latest`;
  const hex = key.replace(/^sha256:/, '');
  return (
    images.find(({ names }) => names.includes(tagged) || names.includes(key)) ??
    images.find(({ id }) => hex.length >= 4 && id.replace(/^sha256:/, '').startsWith(hex))
  );
}

/** As `findImage`. Throws in the words that make a client pull. */
export function needImage(images: readonly ImageInfo[], key: string): ImageInfo {
  const found = findImage(images, key);
  if (found) return found;
  throw notFound(`No such image: ${/[:@]/.test(key) ? key : `${key}:latest`}`);
}

function hasAny(list: readonly unknown[]): boolean {
  return list.length > 0;
}

function checkContainerMode({ spec }: ContainerOrder): void {
  const { dns, extraHosts, ports, publishAll, exposed } = spec;
  if (spec.hostname !== '') throw invalid('conflicting options: hostname and the network mode');
  if (hasAny(dns.servers) || hasAny(dns.search) || hasAny(dns.options)) {
    throw invalid('conflicting options: dns and the network mode');
  }
  if (hasAny(extraHosts)) {
    throw invalid('conflicting options: custom host-to-IP mapping and the network mode');
  }
  if (publishAll || hasAny(ports)) {
    throw invalid('conflicting options: port publishing and the container type network mode');
  }
  if (hasAny(exposed)) {
    throw invalid('conflicting options: port exposing and the container type network mode');
  }
}

function checkSharedStack(order: ContainerOrder, kind: 'host' | 'container'): void {
  if (order.attachments.some(({ mac }) => mac !== undefined)) {
    throw invalid('conflicting options: mac-address and the network mode');
  }
  if (order.attachments.some(({ links }) => links.length > 0)) {
    throw invalid(
      `conflicting options: ${kind} type networking can't be used with links. This would result in undefined behavior`,
    );
  }
}

/** The network mode of an order. Throws when options contradict it. */
export function checkMode(order: ContainerOrder, resolve: (key: string) => string): NetworkMode {
  const { networkMode, attachments } = order;
  const [, peer] = /^container:(.*)$/.exec(networkMode) ?? [];
  if (peer !== undefined) {
    if (peer === '') throw invalid('invalid container format container:<name|id>');
    checkContainerMode(order);
    checkSharedStack(order, 'container');
    return { kind: 'container', id: resolve(peer) };
  }
  if (networkMode === 'host') {
    checkSharedStack(order, 'host');
    return { kind: 'host' };
  }
  const named = attachments.map(({ network }) => network);
  if (networkMode === 'none' || named.includes('none')) {
    if (named.some((name) => name !== 'none')) {
      throw invalid(
        'container cannot be connected to multiple networks with one of the networks in private (none) mode',
      );
    }
    return { kind: 'none' };
  }
  if (named.includes('host')) {
    throw invalid('container cannot be connected to host network: it was created with another');
  }
  return { kind: 'networks' };
}

/** Throws for a rule that does not exist or contradicts itself. */
export function checkRestartRule({ when, maximum }: RestartRule): void {
  if (!RULES.includes(when)) {
    throw invalid(
      `invalid restart policy: unknown policy '${when}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (maximum < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
  if (maximum > 0 && when !== 'on-failure') {
    throw invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  }
}

function checkRestart({ restart, autoRemove }: ContainerOrder['spec']): void {
  checkRestartRule(restart);
  if (autoRemove && restart.when !== 'no') {
    throw conflict("can't create 'AutoRemove' container with restart policy");
  }
}

/** Throws when an order contradicts itself, whatever is on the host. */
export function checkOrder(order: ContainerOrder): void {
  if (order.name !== undefined) checkName(order.name);
  checkRestart(order.spec);
  if (order.uts === 'host' && order.spec.hostname !== '') {
    throw invalid('conflicting options: hostname and the UTS mode');
  }
  if (order.cwd !== undefined && !order.cwd.startsWith('/')) {
    throw invalid(
      `the working directory '${order.cwd}' is invalid, it needs to be an absolute path`,
    );
  }
}

function parsePort(text: string): ContainerPort[] {
  const [, port, transport = 'tcp'] = /^(\d+)(?:\/(tcp|udp|sctp))?$/.exec(text) ?? [];
  // exempt(as): the pattern allows nothing else
  return port === undefined
    ? []
    : [{ port: Number(port), transport: transport as ContainerPort['transport'] }];
}

function unite(lists: readonly (readonly ContainerPort[])[]): ContainerPort[] {
  const all = lists.flat();
  const key = ({ port, transport }: ContainerPort) => `${port}/${transport}`;
  return [...new Map(all.map((one) => [key(one), one])).values()];
}

function mergeEnv(image: readonly string[], own: readonly string[]): string[] {
  const name = (entry: string) => entry.split('=')[0];
  const set = new Set(own.map(name));
  return [...image.filter((entry) => !set.has(name(entry))), ...own];
}

/** The check that is asked for, completed by the image's; undefined: none. */
function healthOf(
  asked: HealthRequest | undefined,
  image: HealthRequest | undefined,
): ContainerHealthCheck | undefined {
  if (asked === 'none') return undefined;
  const {
    argv,
    shell = false,
    ...times
  } = {
    ...(image === 'none' ? {} : image),
    ...asked,
  };
  return argv === undefined ? undefined : { ...DEFAULT_HEALTH, ...times, argv, shell };
}

/** The specification that an order and its image come to, but for its mounts. Throws when nothing is to be run. */
export function completeSpec(
  order: ContainerOrder,
  image: ImageInfo,
  mode: NetworkMode,
): Omit<ContainerSpec, 'mounts'> {
  const { spec } = order;
  const entrypoint = order.entrypoint ?? image.entrypoint;
  const inherits = order.entrypoint === undefined && spec.command.length === 0;
  const command = inherits ? image.command : spec.command;
  if (entrypoint.length + command.length === 0) throw invalid('no command specified');
  const imagePorts = image.exposed.flatMap(parsePort);
  return {
    ...spec,
    image: order.image,
    mode,
    entrypoint,
    command,
    env: mergeEnv(image.env, spec.env),
    cwd: order.cwd ?? image.cwd,
    user: order.user ?? image.user,
    labels: { ...image.labels, ...spec.labels },
    health: healthOf(order.health, image.health),
    stopSignal: order.stopSignal ?? image.stopSignal ?? DEFAULT_SIGNAL,
    exposed:
      mode.kind === 'container'
        ? []
        : unite([
            imagePorts,
            spec.exposed,
            spec.ports.map(({ port, transport }) => ({ port, transport })),
          ]),
  };
}
