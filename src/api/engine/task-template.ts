import { unsupported } from '../../base/faults.ts';
import { invalidArgument } from '../../control/cluster/refusals.ts';
import { plainAttachment } from '../../control/cluster/task-order.ts';
import type { FileReference, TaskRestartRule, TaskTemplate } from '../../model/cluster.ts';
import type { AttachmentRequest, ContainerTemplate } from '../../model/container.ts';
import type { Network } from '../../model/network.ts';
import { capabilities, healthCheck, isEmpty } from './container-request.ts';
import { NS_PER_MS } from './durations.ts';
import type { Fields } from './fields.ts';
import { longMount } from './mount-request.ts';

const MIN_NANO_CPUS = 1_000_000;
const MIN_MEMORY = 4 * 1024 * 1024;
export const DEFAULT_GRACE_MS = 10_000;
export const DEFAULT_RESTART: TaskRestartRule = {
  ...{ condition: 'any', delayMs: 5000, maxAttempts: 0, windowMs: 0 },
};
const CONDITIONS = ['none', 'on-failure', 'any'] as const;
const DEFAULT_FILE_MODE = 0o444;
const MAX_HOSTNAME = 63;

/** Settings of a container that are accepted, kept and shown, but have no effect. */
const WITHOUT_EFFECT = ['Isolation', 'OomScoreAdj', 'ReadOnly', 'Ulimits'];
const OF_PRIVILEGES = ['SELinuxContext', 'Seccomp', 'AppArmor'];

/** A network by the name or id that a specification has; throws for one that cannot be used. */
export type NetworkResolver = (key: string) => Network;

/** A span in ms; `fallback` where none is given. Throws for a negative one. */
export function span(fields: Fields, name: string, what: string, fallback: number): number {
  const ns = fields.optionalNumber(name);
  if (ns === undefined) return fallback;
  if (ns < 0) throw invalidArgument(`TaskSpec: ${what} cannot be negative`);
  return ns / NS_PER_MS;
}

/** One warning for each setting that is kept but has no effect. */
export function warningsOf(template: Fields): string[] {
  const container = template.fields('ContainerSpec');
  const privileges = container.fields('Privileges');
  const log = template.fields('LogDriver').text('Name');
  return [
    ...WITHOUT_EFFECT.filter((name) => !isEmpty(container.value(name))),
    ...OF_PRIVILEGES.filter((name) => !isEmpty(privileges.value(name))),
  ]
    .map((name) => `${name} has no effect here`)
    .concat(
      ['', 'json-file', 'local'].includes(log) ? [] : [`the log driver ${log} is not served`],
    );
}

/** `address name…` as a hosts file has it. */
function extraHosts(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [address = '', ...names] = line.trim().split(/\s+/);
    if (names.length === 0)
      throw invalidArgument(`ContainerSpec: "${line}" is no address and name`);
    return names.map((name) => `${name}:${address}`);
  });
}

function reference(kind: FileReference['kind'], fields: Fields): FileReference {
  const prefix = kind === 'secret' ? 'Secret' : 'Config';
  const [id, name] = [fields.text(`${prefix}ID`), fields.text(`${prefix}Name`)];
  if (id === '' || name === '') throw invalidArgument(`malformed ${kind} reference`);
  if (fields.optionalFields('Runtime')) {
    throw unsupported(`${kind} ${name} as a credential specification is not served`);
  }
  const file = fields.fields('File');
  const target = file.text('Name') || (kind === 'secret' ? name : `/${name}`);
  return {
    ...{ kind, id, name, target },
    ...{ uid: file.text('UID') || '0', gid: file.text('GID') || '0' },
    mode: file.optionalNumber('Mode') ?? DEFAULT_FILE_MODE,
  };
}

function fileReferences(container: Fields): FileReference[] {
  const files = [
    ...container.objects('Secrets').map((one) => reference('secret', one)),
    ...container.objects('Configs').map((one) => reference('config', one)),
  ];
  const seen = new Map<string, FileReference>();
  for (const file of files) {
    const key = `${file.kind} ${file.target}`;
    const other = seen.get(key);
    if (other) {
      throw invalidArgument(
        `${file.kind} references '${other.name}' and '${file.name}' have a conflicting target: '${file.target}'`,
      );
    }
    seen.set(key, file);
  }
  return files;
}

function containerSpec(container: Fields, limits: Fields, shared: boolean): ContainerTemplate {
  const image = container.text('Image');
  if (image === '') throw invalidArgument('ContainerSpec: image reference must be provided');
  const privileges = container.fields('Privileges');
  if (privileges.optionalFields('CredentialSpec')) {
    throw unsupported('credential specifications are not served');
  }
  const hostname = container.text('Hostname');
  if (!hostname.includes('{{') && hostname.length > MAX_HOSTNAME) {
    throw invalidArgument(`ContainerSpec: the host name ${hostname} is longer than 63 characters`);
  }
  const dns = container.fields('DNSConfig');
  const mounts = container.objects('Mounts').map(longMount);
  const targets = mounts.map(({ target }) => target);
  const twice = targets.find((target, index) => targets.indexOf(target) !== index);
  if (twice) throw invalidArgument(`ContainerSpec: duplicate mount point: ${twice}`);
  return {
    ...{ image, entrypoint: container.texts('Command'), command: container.texts('Args') },
    ...{ env: container.texts('Env'), cwd: container.text('Dir'), user: container.text('User') },
    ...{ groups: container.texts('Groups'), hostname, domainname: '' },
    ...{ tty: container.flag('TTY'), openStdin: container.flag('OpenStdin'), stdinOnce: false },
    labels: container.textMap('Labels'),
    stopSignal: container.text('StopSignal'),
    stopTimeoutMs: span(container, 'StopGracePeriod', 'stop-grace-period', DEFAULT_GRACE_MS),
    ...{ autoRemove: false, restart: { when: 'no', maximum: 0 }, health: healthCheck(container) },
    mode: { kind: shared ? 'host' : 'networks' },
    ...{ exposed: [], ports: [], publishAll: false },
    dns: {
      servers: dns.texts('Nameservers'),
      search: dns.texts('Search'),
      options: dns.texts('Options'),
    },
    extraHosts: extraHosts(container.texts('Hosts')),
    sysctls: container.textMap('Sysctls'),
    mounts,
    capabilities: capabilities(container.texts('CapabilityAdd'), container.texts('CapabilityDrop')),
    ...{ privileged: false, noNewPrivileges: privileges.flag('NoNewPrivileges'), pidHost: false },
    limits: {
      memoryBytes: limits.number('MemoryBytes') || undefined,
      nanoCpus: limits.number('NanoCPUs') || undefined,
      pids: limits.number('Pids') || undefined,
    },
  };
}

/** Limits or reservations. Throws for what is too little to run with. */
function checkResources(resources: Fields): void {
  const [nanoCpus, memory] = [resources.number('NanoCPUs'), resources.number('MemoryBytes')];
  if (nanoCpus !== 0 && nanoCpus < MIN_NANO_CPUS) {
    throw invalidArgument(`invalid cpu value ${nanoCpus / 1e9}: Must be at least 0.001`);
  }
  if (memory !== 0 && memory < MIN_MEMORY) {
    throw invalidArgument(`invalid memory value ${memory}: Must be at least 4MiB`);
  }
  if (resources.number('Pids') < 0) throw invalidArgument('invalid pids value: it is negative');
  if (resources.objects('GenericResources').length > 0) {
    throw unsupported('generic resources are not served');
  }
}

function restartRule(template: Fields): TaskRestartRule {
  const policy = template.fields('RestartPolicy');
  const text = policy.text('Condition') || DEFAULT_RESTART.condition;
  const condition = CONDITIONS.find((one) => one === text);
  if (!condition) throw invalidArgument(`invalid RestartCondition: ${text}`);
  return {
    condition,
    delayMs: span(policy, 'Delay', 'restart-delay', DEFAULT_RESTART.delayMs),
    maxAttempts: policy.number('MaxAttempts'),
    windowMs: span(policy, 'Window', 'restart-window', DEFAULT_RESTART.windowMs),
  };
}

function spread(placement: Fields): string[] {
  return placement.objects('Preferences').map((preference) => {
    const label = preference.fields('Spread').text('SpreadDescriptor');
    if (label !== '') return label;
    throw invalidArgument('Placement: a preference names what tasks are spread over');
  });
}

/** The platforms that an image is for, as a constraint. */
function platformConstraints(placement: Fields): string[] {
  const platforms = placement.objects('Platforms').map((platform) => {
    return `${platform.text('OS') || '*'}/${platform.text('Architecture') || '*'}`;
  });
  return platforms.length === 0 ? [] : [`node.platform==${[...new Set(platforms)].join('|')}`];
}

/** Networks of the cluster that tasks join, and whether they share their node's network instead. */
function networking(list: readonly Fields[], resolve: NetworkResolver) {
  const found = list.map((fields) => ({ fields, network: resolve(fields.text('Target')) }));
  const shared = found.some(({ network }) => network.driver === 'host');
  if (shared && found.length > 1) {
    throw invalidArgument('a service on the network host is on no other one');
  }
  const ids = found.map(({ network }) => network.id);
  const twice = found.find(({ network }, index) => ids.indexOf(network.id) !== index);
  if (twice) {
    throw invalidArgument(`duplicate network: ${twice.network.name} is named more than once`);
  }
  const networks = found
    .filter(({ network }) => network.driver === 'overlay')
    .map(({ fields, network }): AttachmentRequest => {
      if (network.ingress) {
        throw invalidArgument(
          `Service cannot be explicitly attached to the ingress network "${network.name}"`,
        );
      }
      return {
        ...plainAttachment(network.id),
        aliases: fields.texts('Aliases'),
        driverOptions: fields.textMap('DriverOpts'),
      };
    });
  return { shared, networks, ids };
}

/**
 * What the tasks of a service are made of, and the ids of the networks in the order that they are
 * listed. Throws in the words that users know.
 */
export function taskTemplate(
  template: Fields,
  networkList: readonly Fields[],
  resolve: NetworkResolver,
): { readonly template: TaskTemplate; readonly networkIds: readonly string[] } {
  if (template.optionalFields('PluginSpec') || template.optionalFields('NetworkAttachmentSpec')) {
    throw unsupported('a service runs containers: no plugins and no attachments are served');
  }
  const container = template.fields('ContainerSpec');
  const placement = template.fields('Placement');
  const resources = template.fields('Resources');
  const [limits, reserved] = [resources.fields('Limits'), resources.fields('Reservations')];
  checkResources(limits);
  checkResources(reserved);
  const { shared, networks, ids } = networking(networkList, resolve);
  const spec = containerSpec(container, limits, shared);
  return {
    networkIds: ids,
    template: {
      container: spec,
      files: fileReferences(container),
      networks,
      restart: restartRule(template),
      stopGraceMs: spec.stopTimeoutMs,
      constraints: [...placement.texts('Constraints'), ...platformConstraints(placement)],
      spread: spread(placement),
      maxReplicasPerNode: placement.number('MaxReplicas'),
      reservations: {
        nanoCpus: reserved.number('NanoCPUs'),
        memoryBytes: reserved.number('MemoryBytes'),
      },
      forceUpdate: template.number('ForceUpdate'),
    },
  };
}
