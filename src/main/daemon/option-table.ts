/** How an option's value is written. */
export type OptionKind = 'text' | 'flag' | 'number' | 'list' | 'pools' | 'map';

/** One option of the engine: its key in the file and its flag on the command line. */
export type DaemonOption = {
  /** Key in daemon.json. */
  readonly key: string;
  /** As the command line takes it; lists may be repeated. */
  readonly flag: string;
  readonly kind: OptionKind;
  readonly help: string;
  /** Taken over on SIGHUP. */
  readonly reloads?: boolean;
};

/** Every option that has an effect. */
export const DAEMON_OPTIONS: readonly DaemonOption[] = [
  {
    key: 'hosts',
    flag: '-H, --host <address>',
    kind: 'list',
    help: 'serve the Engine API on unix:///PATH, tcp://HOST:PORT or fd://',
  },
  {
    key: 'data-root',
    flag: '--data-root <path>',
    kind: 'text',
    help: 'folder of the state that is kept',
  },
  {
    key: 'exec-root',
    flag: '--exec-root <path>',
    kind: 'text',
    help: 'folder of the state that a boot ends',
  },
  {
    key: 'pidfile',
    flag: '-p, --pidfile <path>',
    kind: 'text',
    help: 'file that holds the process id while it runs',
  },
  { key: 'group', flag: '-G, --group <name>', kind: 'text', help: 'group of the unix sockets' },
  { key: 'debug', flag: '-D, --debug [flag]', kind: 'flag', help: 'log everything', reloads: true },
  {
    key: 'log-level',
    flag: '-l, --log-level <level>',
    kind: 'text',
    help: 'debug, info, warn or error',
  },
  { key: 'tls', flag: '--tls [flag]', kind: 'flag', help: 'TLS on tcp:// addresses' },
  {
    key: 'tlsverify',
    flag: '--tlsverify [flag]',
    kind: 'flag',
    help: 'TLS on tcp:// addresses, clients need a certificate',
  },
  {
    key: 'tlscacert',
    flag: '--tlscacert <file>',
    kind: 'text',
    help: 'certificates that sign those of clients',
  },
  { key: 'tlscert', flag: '--tlscert <file>', kind: 'text', help: 'certificate of the daemon' },
  { key: 'tlskey', flag: '--tlskey <file>', kind: 'text', help: 'key of the daemon' },
  {
    key: 'bridge',
    flag: '-b, --bridge <link>',
    kind: 'text',
    help: 'existing link for the default bridge; none: no default bridge',
  },
  {
    key: 'bip',
    flag: '--bip <address/length>',
    kind: 'text',
    help: 'address of the default bridge',
  },
  {
    key: 'bip6',
    flag: '--bip6 <address/length>',
    kind: 'text',
    help: 'IPv6 address of the default bridge',
  },
  {
    key: 'fixed-cidr',
    flag: '--fixed-cidr <block>',
    kind: 'text',
    help: 'where the default bridge takes addresses from',
  },
  {
    key: 'fixed-cidr-v6',
    flag: '--fixed-cidr-v6 <block>',
    kind: 'text',
    help: 'the same for IPv6',
  },
  {
    key: 'default-gateway',
    flag: '--default-gateway <address>',
    kind: 'text',
    help: 'gateway of containers on the default bridge',
  },
  {
    key: 'default-gateway-v6',
    flag: '--default-gateway-v6 <address>',
    kind: 'text',
    help: 'the same for IPv6',
  },
  {
    key: 'default-address-pools',
    flag: '--default-address-pool <base=BLOCK,size=N>',
    kind: 'pools',
    help: 'where subnets of new networks are taken from',
  },
  { key: 'dns', flag: '--dns <address>', kind: 'list', help: 'name servers of containers' },
  {
    key: 'dns-search',
    flag: '--dns-search <domain>',
    kind: 'list',
    help: 'search domains of containers',
  },
  {
    key: 'dns-opts',
    flag: '--dns-opt <option>',
    kind: 'list',
    help: 'resolver options of containers',
  },
  {
    key: 'icc',
    flag: '--icc [flag]',
    kind: 'flag',
    help: 'containers of the default bridge reach one another',
  },
  {
    key: 'ip',
    flag: '--ip <address>',
    kind: 'text',
    help: 'where published ports bind by default',
  },
  {
    key: 'ip-masq',
    flag: '--ip-masq [flag]',
    kind: 'flag',
    help: 'masquerade what leaves the default bridge',
  },
  {
    key: 'iptables',
    flag: '--iptables [flag]',
    kind: 'flag',
    help: 'publish ports; false: nothing is published',
  },
  { key: 'ipv6', flag: '--ipv6 [flag]', kind: 'flag', help: 'IPv6 on the default bridge' },
  { key: 'mtu', flag: '--mtu <bytes>', kind: 'number', help: 'MTU of the default bridge' },
  {
    key: 'host-gateway-ip',
    flag: '--host-gateway-ip <address>',
    kind: 'text',
    help: 'what host-gateway stands for in --add-host',
  },
  {
    key: 'labels',
    flag: '--label <key=value>',
    kind: 'list',
    help: 'labels of the daemon',
    reloads: true,
  },
  {
    key: 'cluster-store',
    flag: '--cluster-store <url>',
    kind: 'text',
    help: 'store that managers share: consul://HOST:PORT[,…]/PREFIX or etcd://…; else a file',
  },
  {
    key: 'cluster-store-opts',
    flag: '--cluster-store-opt <key=value>',
    kind: 'map',
    help: 'kv.cacertfile, kv.certfile, kv.keyfile, kv.path, kv.token, discovery.heartbeat, discovery.ttl',
  },
  {
    key: 'swarm-default-advertise-addr',
    flag: '--swarm-default-advertise-addr <address>',
    kind: 'text',
    help: 'address or link that docker swarm init and join tell others, unless they say another',
  },
  {
    key: 'insecure-registries',
    flag: '--insecure-registry <host>',
    kind: 'list',
    help: 'HOST, HOST:PORT or block of addresses of registries without a certificate to trust, or TLS',
  },
  {
    key: 'metrics-addr',
    flag: '--metrics-addr <host:port>',
    kind: 'text',
    help: 'serve Prometheus figures of the engine',
  },
  {
    key: 'plugin-folders',
    flag: '--plugin-folder <path>',
    kind: 'list',
    help: 'where network and IPAM plugins are looked for',
  },
  {
    key: 'plugin-timeout',
    flag: '--plugin-timeout <seconds>',
    kind: 'number',
    help: 'how long a plugin may take to answer',
  },
  {
    key: 'shutdown-timeout',
    flag: '--shutdown-timeout <seconds>',
    kind: 'number',
    help: 'how long the daemon may take to stop',
    reloads: true,
  },
];

/** Keys that a file may hold although nothing here heeds them. */
export const WITHOUT_EFFECT: readonly string[] = [
  ...['allow-nondistributable-artifacts', 'api-cors-header', 'authorization-plugins', 'builder'],
  ...['cgroup-parent', 'containerd', 'containerd-namespace', 'default-cgroupns-mode'],
  ...['default-ipc-mode', 'default-runtime', 'default-shm-size', 'default-ulimits', 'exec-opts'],
  ...['experimental', 'features', 'init', 'init-path', 'ip-forward'],
  ...['ip6tables', 'live-restore', 'log-driver', 'log-opts', 'max-concurrent-downloads'],
  ...['max-concurrent-uploads', 'max-download-attempts', 'no-new-privileges'],
  ...['node-generic-resources', 'oom-score-adjust', 'proxies', 'raw-logs', 'registry-mirrors'],
  ...['runtimes', 'seccomp-profile', 'selinux-enabled', 'storage-driver', 'storage-opts'],
  ...['userland-proxy', 'userland-proxy-path', 'userns-remap'],
];

/** Keys of what was replaced long ago, with what replaced it. */
export const REPLACED: Readonly<Record<string, string>> = {
  'cluster-advertise': 'a node is told by docker swarm init or join --advertise-addr',
};
