/** Names of a service's specification, as clients of the API expect them to be written. */
const NAMES = [
  ...['Name', 'Labels', 'TaskTemplate', 'Mode', 'UpdateConfig', 'RollbackConfig', 'Networks'],
  ...['EndpointSpec', 'ContainerSpec', 'Resources', 'RestartPolicy', 'Placement', 'ForceUpdate'],
  ...['Runtime', 'LogDriver', 'Image', 'Command', 'Args', 'Hostname', 'Env', 'Dir', 'User'],
  ...['Groups', 'Privileges', 'StopSignal', 'TTY', 'OpenStdin', 'ReadOnly', 'Mounts', 'Type'],
  ...['Source', 'Target', 'Consistency', 'BindOptions', 'VolumeOptions', 'TmpfsOptions'],
  ...['Propagation', 'NonRecursive', 'CreateMountpoint', 'NoCopy', 'DriverConfig', 'Subpath'],
  ...['SizeBytes', 'StopGracePeriod', 'Healthcheck', 'Test', 'Interval', 'Timeout', 'Retries'],
  ...['StartPeriod', 'StartInterval', 'Hosts', 'DNSConfig', 'Nameservers', 'Search', 'Options'],
  ...['Secrets', 'Configs', 'SecretID', 'SecretName', 'ConfigID', 'ConfigName', 'File', 'UID'],
  ...['GID', 'Init', 'Isolation', 'Sysctls', 'CapabilityAdd', 'CapabilityDrop', 'Ulimits', 'Hard'],
  ...['Soft', 'OomScoreAdj', 'Limits', 'Reservations', 'NanoCPUs', 'MemoryBytes', 'Pids'],
  ...['Condition', 'Delay', 'MaxAttempts', 'Window', 'Constraints', 'Preferences', 'Spread'],
  ...['SpreadDescriptor', 'MaxReplicas', 'Platforms', 'Architecture', 'OS', 'Aliases'],
  ...['DriverOpts', 'Replicated', 'Global', 'Replicas', 'Parallelism', 'FailureAction', 'Monitor'],
  ...['MaxFailureRatio', 'Order', 'Ports', 'Protocol', 'TargetPort', 'PublishedPort'],
  ...['PublishMode', 'CredentialSpec', 'SELinuxContext', 'Seccomp', 'AppArmor', 'NoNewPrivileges'],
];
const SPELLING = new Map(NAMES.map((name) => [name.toLowerCase(), name]));
/** Objects whose names are data. */
const DATA = new Set(['labels', 'options', 'sysctls', 'driveropts']);

/** A value with the names of the API as they are usually written; all other names stay. */
export function spelled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(spelled);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, field]: [string, unknown]) => {
    const key = name.toLowerCase();
    const data = DATA.has(key) && !Array.isArray(field);
    return [SPELLING.get(key) ?? name, data ? field : spelled(field)] as const;
  });
  return Object.fromEntries(entries);
}
