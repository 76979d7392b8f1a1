import { isIP } from 'node:net';
import { invalid } from '../../base/faults.ts';
import type { ContainerOrder } from '../../control/container-order.ts';
import type {
  AttachmentRequest,
  ContainerPort,
  HealthRequest,
  PortRequest,
  RestartRule,
} from '../../model/container.ts';
import { NS_PER_MS } from './durations.ts';
import type { Fields } from './fields.ts';
import { mountOrder } from './mount-request.ts';
import { attachmentRequest } from './network-view.ts';

const MAX_PORT = 65_535;
const DEFAULT_STOP_S = 10;
/** What a container keeps unless it is taken away. */
const DEFAULT_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
  'AUDIT_WRITE',
];

/** Settings of the host part that are accepted, kept and shown, but have no effect. */
const WITHOUT_EFFECT = [
  ...['BlkioWeight', 'BlkioWeightDevice', 'BlkioDeviceReadBps', 'BlkioDeviceWriteBps'],
  ...['BlkioDeviceReadIOps', 'BlkioDeviceWriteIOps', 'CgroupParent', 'CpuPeriod', 'CpuQuota'],
  ...['CpuRealtimePeriod', 'CpuRealtimeRuntime', 'CpuShares', 'CpusetCpus', 'CpusetMems'],
  ...['DeviceCgroupRules', 'DeviceRequests', 'Devices', 'KernelMemory', 'MemoryReservation'],
  ...['OomKillDisable', 'OomScoreAdj', 'ReadonlyRootfs', 'ShmSize', 'Ulimits', 'UsernsMode'],
  ...['Isolation', 'Runtime', 'VolumeDriver'],
];

/** Whether a setting says nothing. */
export function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === undefined || value === null || value === '' || value === 0 || value === false;
}

/** One warning for each setting of a host part that is kept but has no effect. */
export function withoutEffect(host: Fields): string[] {
  const idle = WITHOUT_EFFECT.filter((name) => !isEmpty(host.value(name)));
  return idle.map((name) => `${name} has no effect here`);
}

/** One warning for each setting that is kept but has no effect. */
export function warningsOf(body: Fields): string[] {
  const host = body.fields('HostConfig');
  const log = host.fields('LogConfig').text('Type');
  const security = host.texts('SecurityOpt').filter((text) => !/^no-new-privileges/.test(text));
  return [
    ...withoutEffect(host),
    ...(['', 'json-file', 'local'].includes(log) ? [] : [`the log driver ${log} is not served`]),
    ...security.map((text) => `the security option ${text} has no effect here`),
    ...(['', 'private', 'none'].includes(host.text('IpcMode'))
      ? []
      : ['IpcMode has no effect here']),
  ];
}

function parsePortKey(key: string): ContainerPort {
  const [, port, , transport = 'tcp'] = /^(\d+)(-\d+)?(?:\/(tcp|udp|sctp))?$/i.exec(key) ?? [];
  const number = Number(port);
  if (port === undefined || number < 1 || number > MAX_PORT) throw invalid(`invalid port: ${key}`);
  // exempt(as): the pattern allows nothing else
  return { port: number, transport: transport.toLowerCase() as ContainerPort['transport'] };
}

function exposedPorts(config: Fields): ContainerPort[] {
  return Object.keys(config.fields('ExposedPorts').raw).flatMap((key) => {
    const [, low, high] = /^(\d+)-(\d+)/.exec(key) ?? [];
    const first = parsePortKey(key);
    if (low === undefined || high === undefined) return [first];
    const count = Number(high) - Number(low) + 1;
    if (count < 1 || Number(high) > MAX_PORT) throw invalid(`invalid port: ${key}`);
    return Array.from({ length: count }, (_, index) => ({ ...first, port: first.port + index }));
  });
}

function hostPorts(text: string): PortRequest['hostPorts'] {
  if (text === '' || text === '0') return undefined;
  const [, low, high = low] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (low === undefined || Number(low) > Number(high) || Number(high) > MAX_PORT) {
    throw invalid(`invalid port specification: "${text}"`);
  }
  return [Number(low), Number(high)];
}

function publishedPorts(host: Fields): PortRequest[] {
  const bindings = host.fields('PortBindings');
  return Object.keys(bindings.raw).flatMap((key) => {
    const port = parsePortKey(key);
    const list = bindings.objects(key);
    const any: PortRequest = { ...port, hostAddress: undefined, hostPorts: undefined };
    if (list.length === 0) return [any];
    return list.map((one): PortRequest => {
      const address = one.optionalText('HostIp');
      if (address !== undefined && isIP(address) === 0)
        throw invalid(`invalid IP address: ${address}`);
      return {
        ...port,
        hostAddress: address,
        hostPorts: hostPorts(one.text('HostPort')),
      };
    });
  });
}

/** Fields of a health check that are times in ns, and what they are called here. */
const HEALTH_TIMES = {
  Interval: 'intervalMs',
  Timeout: 'timeoutMs',
  StartPeriod: 'startPeriodMs',
  StartInterval: 'startIntervalMs',
} as const;

/** The health check that a body sets up; undefined: it says nothing of one. */
export function healthCheck(config: Fields): HealthRequest | undefined {
  const fields = config.optionalFields('Healthcheck');
  if (!fields) return undefined;
  const [kind, ...argv] = fields.texts('Test');
  if (kind === 'NONE') return 'none';
  if (kind !== undefined && kind !== 'CMD' && kind !== 'CMD-SHELL') {
    throw invalid(`Unknown type of health check ${kind}`);
  }
  const times = Object.entries(HEALTH_TIMES).flatMap(([name, own]) => {
    const ns = fields.number(name);
    if (ns !== 0 && ns < NS_PER_MS) {
      throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
    }
    return ns === 0 ? [] : [[own, ns / NS_PER_MS] as const];
  });
  const retries = fields.number('Retries');
  return {
    ...(kind === undefined ? {} : { argv, shell: kind === 'CMD-SHELL' }),
    ...Object.fromEntries(times),
    ...(retries === 0 ? {} : { retries }),
  };
}

/** A restart policy; absent or empty is `no`. */
export function restartRule(host: Fields): RestartRule {
  const policy = host.fields('RestartPolicy');
  const when = policy.text('Name') || 'no';
  // exempt(as): unknown names are refused where the order is checked
  return { when: when as RestartRule['when'], maximum: policy.number('MaximumRetryCount') };
}

/** The set of capabilities that is left. */
export function capabilities(add: readonly string[], drop: readonly string[]): string[] {
  const bare = (name: string) => name.toUpperCase().replace(/^CAP_/, '');
  const added = add.map(bare);
  const dropped = new Set(drop.map(bare));
  const base = dropped.has('ALL') ? [] : DEFAULT_CAPABILITIES;
  if (added.includes('ALL')) return ['ALL'];
  const left = [...new Set([...base.filter((name) => !dropped.has(name)), ...added])];
  return left.map((name) => `CAP_${name}`);
}

type Networking = { readonly mode: string; readonly attachments: readonly AttachmentRequest[] };

function networking(body: Fields, defaultNetwork: string): Networking {
  const host = body.fields('HostConfig');
  const named = (name: string) => (name === '' || name === 'default' ? defaultNetwork : name);
  const mode = named(host.text('NetworkMode'));
  const endpoints = body.fields('NetworkingConfig').fields('EndpointsConfig');
  const asked = new Map(
    Object.keys(endpoints.raw).map((key) => [
      named(key),
      attachmentRequest(named(key), endpoints.fields(key)),
    ]),
  );
  const names = [mode, ...[...asked.keys()].filter((name) => name !== mode)];
  const mac = body.optionalText('MacAddress');
  const attachments = names.map((network) => {
    const request = asked.get(network) ?? attachmentRequest(network, body.fields('none'));
    if (network !== mode) return request;
    const links = [...request.links, ...host.texts('Links')];
    return { ...request, links, mac: request.mac ?? mac };
  });
  return { mode, attachments };
}

function positive(value: number | undefined): number | undefined {
  return value === undefined || value <= 0 ? undefined : value;
}

/** The limits of a host part; what is 0 or less has none. */
export function limitsOf(host: Fields): ContainerOrder['spec']['limits'] {
  return {
    memoryBytes: positive(host.optionalNumber('Memory')),
    nanoCpus: positive(host.optionalNumber('NanoCpus')),
    pids: positive(host.optionalNumber('PidsLimit')),
  };
}

/** The limits that a change names; a negative one is taken away. */
export function givenLimits(host: Fields): Partial<ContainerOrder['spec']['limits']> {
  const names = { memoryBytes: 'Memory', nanoCpus: 'NanoCpus', pids: 'PidsLimit' };
  const given = Object.entries(names)
    .map(([limit, name]) => [limit, host.optionalNumber(name) ?? 0] as const)
    .filter(([, value]) => value !== 0);
  return Object.fromEntries(given.map(([limit, value]) => [limit, positive(value)]));
}

/** The container that a body asks for. `defaultNetwork`: what `default` stands for. */
export function containerOrder(
  body: Fields,
  name: string | undefined,
  defaultNetwork: string,
): ContainerOrder {
  const host = body.fields('HostConfig');
  const { mode, attachments } = networking(body, defaultNetwork);
  const entrypoint = body.optionalTexts('Entrypoint');
  const { HostConfig, NetworkingConfig, ...config } = body.raw;
  return {
    name: name?.replace(/^\//, ''),
    image: body.text('Image'),
    mounts: mountOrder(body),
    health: healthCheck(body),
    entrypoint:
      entrypoint?.join('') === '' && entrypoint.length > 0 ? [] : emptyAsUnset(entrypoint),
    cwd: body.optionalText('WorkingDir'),
    user: body.optionalText('User'),
    stopSignal: body.optionalText('StopSignal'),
    uts: host.text('UTSMode') === 'host' ? 'host' : 'own',
    networkMode: mode,
    attachments,
    asked: { Config: config, HostConfig: host.raw },
    spec: {
      command: body.texts('Cmd'),
      env: body.texts('Env'),
      groups: host.texts('GroupAdd'),
      hostname: body.text('Hostname'),
      domainname: body.text('Domainname'),
      tty: body.flag('Tty'),
      openStdin: body.flag('OpenStdin'),
      stdinOnce: body.flag('StdinOnce'),
      labels: body.textMap('Labels'),
      stopTimeoutMs: (body.optionalNumber('StopTimeout') ?? DEFAULT_STOP_S) * 1000,
      autoRemove: host.flag('AutoRemove'),
      restart: restartRule(host),
      exposed: exposedPorts(body),
      ports: publishedPorts(host),
      publishAll: host.flag('PublishAllPorts'),
      dns: {
        servers: host.texts('Dns'),
        search: host.texts('DnsSearch'),
        options: host.texts('DnsOptions'),
      },
      extraHosts: host.texts('ExtraHosts'),
      sysctls: host.textMap('Sysctls'),
      capabilities: capabilities(host.texts('CapAdd'), host.texts('CapDrop')),
      privileged: host.flag('Privileged'),
      noNewPrivileges: host
        .texts('SecurityOpt')
        .some((text) => /^no-new-privileges([:=]true)?$/.test(text)),
      pidHost: host.text('PidMode') === 'host',
      limits: limitsOf(host),
    },
  };
}

function emptyAsUnset(list: string[] | undefined): string[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}
