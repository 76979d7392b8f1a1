import { dnsNames } from '../../control/compile.ts';
import type { Engine } from '../../control/engine.ts';
import { shortId } from '../../control/ids.ts';
import { hostnameOf, sandboxOf } from '../../control/task-spec.ts';
import { hasNames, memberGateway } from '../../control/topology.ts';
import { VOLUME_DRIVER } from '../../control/volumes.ts';
import type {
  Attachment,
  Container,
  ContainerState,
  HealthRequest,
  PortBinding,
} from '../../model/container.ts';
import { humanDuration, NS_PER_MS } from './durations.ts';
import { Fields } from './fields.ts';

const NEVER = '0001-01-01T00:00:00Z';

function isUp({ status }: ContainerState): boolean {
  return status === 'running' || status === 'paused';
}

/** The addresses that a binding without an address is shown with. */
function hostAddresses({ hostAddress }: PortBinding): string[] {
  return hostAddress === undefined ? ['0.0.0.0', '::'] : [hostAddress];
}

function portMap({ spec, bindings, state }: Container): Record<string, unknown> {
  if (!isUp(state)) return {};
  const map: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  for (const { port, transport } of spec.exposed) map[`${port}/${transport}`] = null;
  for (const binding of bindings) {
    const key = `${binding.port}/${binding.transport}`;
    const list = map[key] ?? [];
    for (const HostIp of hostAddresses(binding)) {
      list.push({ HostIp, HostPort: String(binding.hostPort) });
    }
    map[key] = list;
  }
  return map;
}

function portList({ spec, bindings, state }: Container): Record<string, unknown>[] {
  if (!isUp(state)) return [];
  const bound = new Set(bindings.map(({ port, transport }) => `${port}/${transport}`));
  const exposed = spec.exposed
    .filter(({ port, transport }) => !bound.has(`${port}/${transport}`))
    .map(({ port, transport }) => ({ PrivatePort: port, Type: transport }));
  const published = bindings.flatMap((binding) =>
    hostAddresses(binding).map((IP) => ({
      IP,
      PrivatePort: binding.port,
      PublicPort: binding.hostPort,
      Type: binding.transport,
    })),
  );
  return [...published, ...exposed];
}

function endpointView(container: Container, attachment: Attachment, { registry }: Engine) {
  const { request, active, networkId } = attachment;
  const network = registry.findNetwork(networkId);
  const { ipv4, ipv6, linkLocal } = request;
  const asked = ipv4 ?? ipv6 ?? linkLocal[0];
  const gateway = (family: 'ipv4' | 'ipv6') =>
    active?.[family] && network && !network.internal
      ? (memberGateway({ network, attachment }, family) ?? '')
      : '';
  return {
    IPAMConfig:
      asked === undefined
        ? null
        : {
            ...(ipv4 === undefined ? {} : { IPv4Address: ipv4 }),
            ...(ipv6 === undefined ? {} : { IPv6Address: ipv6 }),
            ...(linkLocal.length === 0 ? {} : { LinkLocalIPs: linkLocal }),
          },
    Links: request.links.length > 0 ? request.links : null,
    Aliases: request.aliases.length > 0 ? request.aliases : null,
    MacAddress: active?.mac ?? request.mac ?? '',
    DriverOpts: Object.keys(request.driverOptions).length > 0 ? request.driverOptions : null,
    GwPriority: request.gatewayPriority,
    NetworkID: active ? networkId : '',
    EndpointID: active?.id ?? '',
    Gateway: gateway('ipv4'),
    IPAddress: active?.ipv4?.address ?? '',
    IPPrefixLen: active?.ipv4?.prefixLength ?? 0,
    IPv6Gateway: gateway('ipv6'),
    GlobalIPv6Address: active?.ipv6?.address ?? '',
    GlobalIPv6PrefixLen: active?.ipv6?.prefixLength ?? 0,
    DNSNames: network && hasNames(network) ? dnsNames(container, attachment) : null,
  };
}

/** The endpoints of a container by the names of their networks. */
function endpointViews(container: Container, engine: Engine): Record<string, unknown> {
  const { mode } = container.spec;
  const { registry } = engine;
  if (mode.kind === 'host' || mode.kind === 'none') {
    const network = [...registry.networks].find(({ name }) => name === mode.kind);
    return {
      [mode.kind]: { NetworkID: network?.id ?? '', EndpointID: '', IPAddress: '', MacAddress: '' },
    };
  }
  return Object.fromEntries(
    container.attachments.flatMap((attachment) =>
      attachment.implied
        ? []
        : [
            [
              registry.findNetwork(attachment.networkId)?.name ?? attachment.networkName,
              endpointView(container, attachment, engine),
            ],
          ],
    ),
  );
}

function networkSettings(container: Container, engine: Engine): Record<string, unknown> {
  const bridge = container.attachments.find(({ networkName }) => networkName === 'bridge');
  const view = bridge ? endpointView(container, bridge, engine) : undefined;
  const up = container.sandbox;
  return {
    Bridge: '',
    SandboxID: up ? sandboxOf(container, engine.context) : '',
    SandboxKey: up ? engine.facts.sandboxPath(container.id) : '',
    Ports: portMap(container),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: view?.EndpointID ?? '',
    Gateway: view?.Gateway ?? '',
    GlobalIPv6Address: view?.GlobalIPv6Address ?? '',
    GlobalIPv6PrefixLen: view?.GlobalIPv6PrefixLen ?? 0,
    IPAddress: view?.IPAddress ?? '',
    IPPrefixLen: view?.IPPrefixLen ?? 0,
    IPv6Gateway: view?.IPv6Gateway ?? '',
    MacAddress: view?.MacAddress ?? '',
    Networks: endpointViews(container, engine),
  };
}

function healthView({ health }: ContainerState): Record<string, unknown> {
  if (!health) return {};
  return {
    Health: {
      Status: health.status,
      FailingStreak: health.failingStreak,
      Log: health.log.map(({ start, end, exitCode, output }) => ({
        Start: start,
        End: end,
        ExitCode: exitCode,
        Output: output,
      })),
    },
  };
}

function stateView(state: ContainerState): Record<string, unknown> {
  const { status, pid, exitCode, error, oomKilled, startedAt, finishedAt } = state;
  return {
    Status: status,
    Running: isUp(state) || status === 'restarting',
    Paused: status === 'paused',
    Restarting: status === 'restarting',
    OOMKilled: oomKilled,
    Dead: false,
    Pid: pid,
    ExitCode: exitCode,
    Error: error,
    StartedAt: startedAt ?? NEVER,
    FinishedAt: finishedAt ?? NEVER,
    ...healthView(state),
  };
}

/** A health check as the API writes it; what is not said is left out. */
export function healthCheckView(check: HealthRequest): Record<string, unknown> {
  if (check === 'none') return { Test: ['NONE'] };
  const { argv = [], shell, retries } = check;
  const times = {
    Interval: check.intervalMs,
    Timeout: check.timeoutMs,
    StartPeriod: check.startPeriodMs,
    StartInterval: check.startIntervalMs,
  };
  return {
    Test: [shell ? 'CMD-SHELL' : 'CMD', ...argv],
    ...Object.fromEntries(
      Object.entries(times).flatMap(([name, ms]) => (ms ? [[name, ms * NS_PER_MS]] : [])),
    ),
    ...(retries === undefined ? {} : { Retries: retries }),
  };
}

function asked(container: Container, part: string): Readonly<Record<string, unknown>> {
  return new Fields(container.asked).fields(part).raw;
}

function configView(container: Container, engine: Engine): Record<string, unknown> {
  const { spec, id } = container;
  return {
    ...asked(container, 'Config'),
    Hostname:
      spec.hostname ||
      (spec.mode.kind === 'host' ? hostnameOf(container, engine.context) : shortId(id)),
    Domainname: spec.domainname,
    User: spec.user,
    ExposedPorts: Object.fromEntries(
      spec.exposed.map(({ port, transport }) => [`${port}/${transport}`, {}]),
    ),
    Tty: spec.tty,
    OpenStdin: spec.openStdin,
    StdinOnce: spec.stdinOnce,
    Env: spec.env,
    Cmd: spec.command,
    Image: spec.image,
    WorkingDir: spec.cwd,
    Entrypoint: spec.entrypoint.length > 0 ? spec.entrypoint : null,
    Labels: spec.labels,
    StopSignal: spec.stopSignal,
    ...(spec.health ? { Healthcheck: healthCheckView(spec.health) } : {}),
  };
}

function hostConfigView(container: Container): Record<string, unknown> {
  const { spec } = container;
  return {
    ...asked(container, 'HostConfig'),
    NetworkMode: networkMode(container),
    RestartPolicy: { Name: spec.restart.when, MaximumRetryCount: spec.restart.maximum },
    AutoRemove: spec.autoRemove,
    PublishAllPorts: spec.publishAll,
    Memory: spec.limits.memoryBytes ?? 0,
    NanoCpus: spec.limits.nanoCpus ?? 0,
    PidsLimit: spec.limits.pids ?? null,
    LogConfig: { Type: 'json-file', Config: {} },
  };
}

/** The network mode as the API writes it. */
export function networkMode({ spec, attachments, asked: original }: Container): string {
  const { mode } = spec;
  if (mode.kind === 'container') return `container:${mode.id}`;
  if (mode.kind !== 'networks') return mode.kind;
  const wanted = new Fields(original).fields('HostConfig').text('NetworkMode');
  const first = attachments[0]?.networkName ?? 'bridge';
  return wanted === '' || wanted === 'default' ? first : wanted;
}

/** A container as inspection shows it. */
export function containerDetail(container: Container, engine: Engine): Record<string, unknown> {
  const { id, name, created, imageId, spec, state } = container;
  const [path = '', ...args] = [...spec.entrypoint, ...spec.command];
  return {
    Id: id,
    Created: created,
    Path: path,
    Args: args,
    State: stateView(state),
    Image: imageId,
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: '',
    Name: `/${name}`,
    RestartCount: state.restartCount,
    Driver: 'host',
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: engine.containers.execs.of(id),
    HostConfig: hostConfigView(container),
    GraphDriver: { Name: 'host', Data: null },
    Mounts: mountViews(container, engine),
    Config: configView(container, engine),
    NetworkSettings: networkSettings(container, engine),
  };
}

/** Mounts as inspection shows them; those of `Tmpfs` are told only where they were asked for. */
function mountViews(container: Container, { registry }: Engine): Record<string, unknown>[] {
  const hidden = new Fields(container.asked).fields('HostConfig').textMap('Tmpfs');
  return container.spec.mounts
    .filter(({ target }) => !Object.hasOwn(hidden, target))
    .map(({ kind, source, target, readOnly, options, mode = '' }) => ({
      Type: kind,
      ...(kind === 'volume' ? { Name: source } : {}),
      Source: kind === 'volume' ? (registry.findVolume(source)?.path ?? '') : source,
      Destination: target,
      ...(kind === 'volume' ? { Driver: VOLUME_DRIVER } : {}),
      Mode: mode,
      RW: !readOnly,
      Propagation: kind === 'bind' ? propagationOf(options) : '',
    }));
}

function propagationOf(options: readonly string[]): string {
  return options.find((option) => /^r?(private|shared|slave)$/.test(option)) ?? 'rprivate';
}

/** What `ps` shows as the status. */
export function statusText({ state }: Container, nowMs: number): string {
  const since = (time: string | undefined) => humanDuration(nowMs - Date.parse(time ?? ''));
  const { status, exitCode, health } = state;
  if (status === 'created') return 'Created';
  if (status === 'restarting') return `Restarting (${exitCode}) ${since(state.finishedAt)} ago`;
  if (status === 'exited') {
    return state.finishedAt === undefined
      ? 'Created'
      : `Exited (${exitCode}) ${since(state.finishedAt)} ago`;
  }
  const up = `Up ${since(state.startedAt)}`;
  if (status === 'paused') return `${up} (Paused)`;
  if (!health) return up;
  return health.status === 'starting' ? `${up} (health: starting)` : `${up} (${health.status})`;
}

/** A container as a row of the list. */
export function containerRow(
  container: Container,
  engine: Engine,
  nowMs: number,
): Record<string, unknown> {
  const { id, name, spec, imageId, created, state } = container;
  return {
    Id: id,
    Names: [`/${name}`],
    Image: spec.image,
    ImageID: imageId,
    Command: [...spec.entrypoint, ...spec.command].join(' '),
    Created: Math.floor(Date.parse(created) / 1000),
    Ports: portList(container),
    Labels: spec.labels,
    State: state.status,
    Status: statusText(container, nowMs),
    HostConfig: { NetworkMode: networkMode(container) },
    NetworkSettings: { Networks: endpointViews(container, engine) },
    Mounts: mountViews(container, engine),
  };
}
