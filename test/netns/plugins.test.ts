import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { Lab } from '../conformance/docker-cli/lab.ts';
import { eventually } from '../conformance/docker-cli/rows.ts';
import { missing } from '../support/docker-daemon.ts';
import { until } from '../support/netns.ts';

const PLUGIN = new URL('../support/plugin-process.ts', import.meta.url).pathname;
const SLEEP = ['host', 'sleep', '60'];
const TIMEOUT_S = 2;

type Call = { method: string; type: string; body: Record<string, unknown> };

/** One process of the plugin, in the lab's host. */
class Plugin {
  readonly #lab: Lab;
  readonly #name: string;
  readonly #kinds: readonly string[];
  #child: ChildProcess | undefined;

  constructor(lab: Lab, name: string, kinds: readonly string[]) {
    this.#lab = lab;
    this.#name = name;
    this.#kinds = kinds;
    mkdirSync(this.folder, { recursive: true });
    mkdirSync(join(lab.folder, 'plugins'), { recursive: true });
  }

  get folder(): string {
    return join(this.#lab.folder, `plugin-${this.#name}`);
  }

  get socket(): string {
    return join(this.#lab.folder, 'plugins', `${this.#name}.sock`);
  }

  async start(): Promise<void> {
    const { file, args } = this.#lab.command(
      ...[process.execPath, PLUGIN, this.socket, this.folder, ...this.#kinds],
    );
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', () => reject(new Error(`the plugin ${this.#name} ended`)));
    });
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  misbehave(faults: Record<string, string>): void {
    writeFileSync(join(this.folder, 'faults.json'), JSON.stringify(faults));
  }

  get calls(): Call[] {
    const path = join(this.folder, 'calls.jsonl');
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }

  methods(): string[] {
    return this.calls.map(({ method }) => method.replace(/^\w+\./, ''));
  }

  forgetCalls(): void {
    rmSync(join(this.folder, 'calls.jsonl'), { force: true });
  }

  get state(): {
    networks: Record<string, unknown>;
    endpoints: Record<string, unknown>;
    pools: Record<string, unknown>;
    addresses: Record<string, string[]>;
  } {
    return JSON.parse(readFileSync(join(this.folder, 'state.json'), 'utf8'));
  }

  /** Nothing is held for anybody. */
  get empty(): boolean {
    const { networks, endpoints, pools, addresses } = this.state;
    const held = [networks, endpoints, pools].flatMap((one) => Object.keys(one));
    return held.length === 0 && Object.values(addresses).flat().length === 0;
  }
}

const skip = missing() ?? false;

describe('third-party network and IPAM drivers', { skip }, () => {
  let lab: Lab;
  let net: Plugin;
  let ipam: Plugin;
  before(async () => {
    lab = await Lab.make();
    net = new Plugin(lab, 'tpnet', ['NetworkDriver']);
    ipam = new Plugin(lab, 'tpipam', ['IpamDriver']);
    await Promise.all([net.start(), ipam.start()]);
    await lab.start([
      ...['--plugin-folder', join(lab.folder, 'plugins')],
      ...['--plugin-timeout', String(TIMEOUT_S)],
    ]);
  });
  after(async () => {
    await lab?.close();
    await Promise.all([net?.stop(), ipam?.stop()]);
  });
  afterEach(async () => {
    for (const plugin of [net, ipam]) plugin.misbehave({});
    await lab.tidy();
    for (const plugin of [net, ipam]) plugin.forgetCalls();
  });
  const create = (...more: string[]) =>
    lab.ok('network', 'create', '-d', 'tpnet', '--ipam-driver', 'tpipam', ...more, 'third');
  const given = (format: string) => lab.ok('network', 'inspect', '-f', format, 'third');

  test('two containers talk over links that the plugin made, at addresses of its IPAM', async () => {
    const id = await create('-o', 'color=blue', '--ipam-opt', 'zone=a');
    assert.equal(
      await given('{{.Driver}} {{.IPAM.Driver}} {{.IPAM.Options.zone}}'),
      'tpnet tpipam a',
    );
    assert.equal(await given('{{(index .IPAM.Config 0).Subnet}}'), '10.77.0.0/24');
    assert.equal(await given('{{(index .IPAM.Config 0).Gateway}}'), '10.77.0.1');
    assert.match(await lab.ok('info', '-f', '{{.Plugins.Network}}'), /tpnet/);
    await lab.serve('c1', ['tcp:80'], '--network', 'third', '-p', '8080:80');
    await lab.ok('run', '-d', '--name', 'c2', '--network', 'third', ...SLEEP);
    assert.equal(await lab.addressOf('c1', 'third'), '10.77.0.2');
    await eventually(() => lab.ask('c2', 'tcp', '10.77.0.2', 80), /^c1 10\.77\.0\.3$/);
    assert.match(await lab.ok('exec', 'c2', 'getent', 'ahostsv4', 'c1'), /^10\.77\.0\.2/);
    const routes = await lab.ok('exec', 'c2', 'ip', 'route');
    assert.match(routes, /default via 10\.77\.0\.1 dev tp0/);
    assert.match(routes, /203\.0\.113\.0\/24 via 10\.77\.0\.1 dev tp0/);
    assert.match(routes, /198\.18\.0\.0\/15 dev tp0/);
    const mac = await lab.inspect('c2', '{{.NetworkSettings.Networks.third.MacAddress}}');
    assert.match(mac, /^02:77:/);
    assert.match(await lab.ok('exec', 'c2', 'ip', 'link', 'show', 'tp0'), new RegExp(mac));

    const told = net.calls.find(({ method }) => method.endsWith('CreateNetwork'));
    assert.equal(told?.type, 'application/vnd.docker.plugins.v1.1+json');
    assert.equal(told?.body['NetworkID'], id);
    assert.deepEqual(Object(told?.body['Options'])['com.docker.network.generic'], {
      color: 'blue',
    });
    const published = net.calls.find(({ method }) =>
      method.endsWith('ProgramExternalConnectivity'),
    );
    const [port] = Object(published?.body['Options'])['com.docker.network.portmap'];
    assert.deepEqual([port.Proto, port.Port, port.HostPort], [6, 80, 8080]);

    net.forgetCalls();
    await lab.ok('rm', '-f', 'c1');
    assert.deepEqual(net.methods(), ['RevokeExternalConnectivity', 'Leave', 'DeleteEndpoint']);
    await lab.ok('rm', '-f', 'c2');
    await lab.ok('network', 'rm', 'third');
    assert.equal(net.empty && ipam.empty, true);
    assert.doesNotMatch((await lab.host('ip', '-o', 'link')).out, /tp[oi-]/);
  });

  test('subnet, gateway, auxiliary and single addresses are asked for by choice', async () => {
    await create(
      ...['--subnet', '10.99.5.0/24', '--gateway', '10.99.5.9', '--aux-address', 'r=10.99.5.7'],
    );
    await lab.ok('run', '-d', '--name', 'c1', '--network', 'third', '--ip', '10.99.5.44', ...SLEEP);
    assert.equal(await lab.addressOf('c1', 'third'), '10.99.5.44');
    const { addresses } = ipam.state;
    assert.deepEqual(addresses['pool-10.99.5.0/24'], ['10.99.5.9', '10.99.5.7', '10.99.5.44']);
    const again = await lab.docker(
      ...['run', '-d', '--network', 'third', '--ip', '10.99.5.44', ...SLEEP],
    );
    assert.match(again.err, /plugin "tpipam": IpamDriver\.RequestAddress: 10\.99\.5\.44 is in use/);
  });

  test('connect and disconnect while it runs; each driver with the other half built in', async () => {
    await lab.ok('network', 'create', '-d', 'tpnet', '--subnet', '10.88.0.0/24', 'third');
    await lab.ok('network', 'create', '--ipam-driver', 'tpipam', 'half');
    await lab.serve('c1', ['tcp:80'], '--network', 'half');
    await lab.ok('run', '-d', '--name', 'c2', '--network', 'half', ...SLEEP);
    assert.equal(await lab.addressOf('c1', 'half'), '10.77.0.2');
    await eventually(() => lab.ask('c2', 'tcp', 'c1', 80), /^c1 10\.77\.0\.3$/);
    for (const name of ['c1', 'c2']) await lab.ok('network', 'connect', 'third', name);
    await eventually(() => lab.ask('c2', 'tcp', '10.88.0.2', 80), /^c1 10\.88\.0\.3$/);
    assert.match(await lab.ok('exec', 'c1', 'ip', '-br', 'addr'), /tp0\S*\s+UP\s+10\.88\.0\.2/);
    await lab.ok('network', 'disconnect', 'third', 'c1');
    assert.doesNotMatch(await lab.ok('exec', 'c1', 'ip', '-br', 'addr'), /tp0/);
    assert.equal(Object.keys(net.state.endpoints).length, 1);
    await eventually(() => lab.ask('c2', 'tcp', 'c1', 80), /^c1 10\.77\.0\.3$/);
  });

  test('what is not there is refused in the known words', async () => {
    const driver = await lab.docker('network', 'create', '-d', 'nobody', 'x');
    assert.match(driver.err, /Error response from daemon: plugin "nobody" not found/);
    const addresses = await lab.docker('network', 'create', '--ipam-driver', 'nobody', 'x');
    assert.match(addresses.err, /invalid ipam driver: "nobody"/);
    const other = await lab.docker('network', 'create', '-d', 'tpipam', 'x');
    assert.match(other.err, /plugin "tpipam" does not implement NetworkDriver: .*IpamDriver/);
    const nothing = await lab.docker(
      ...['network', 'create', '--ipam-driver', 'null', '--subnet', '10.1.0.0/24', 'x'],
    );
    assert.match(nothing.err, /null ipam driver does not handle specific address pool requests/);
  });

  const ANSWERS: readonly (readonly [string, string, RegExp])[] = [
    ['garbage', 'garbage', /its answer is not a JSON object/],
    ['too much', 'huge', /its answer has more than 1048576 bytes/],
    ['an error', '{"Err":"no more ports"}', /NetworkDriver\.Join: no more ports/],
    ['no name', '{}', /InterfaceName\.SrcName is absent/],
    [
      'a name that is none',
      '{"InterfaceName":{"SrcName":"a b; reboot"}}',
      /"a b; reboot", which is no link's name/,
    ],
    [
      'a link that is not there',
      '{"InterfaceName":{"SrcName":"lost0","DstPrefix":"eth"}}',
      /the interface lost0, which the network driver named, is not there/,
    ],
    ['nothing at all', 'cut', /NetworkDriver\.Join: /],
    ['after too long', 'hang', /NetworkDriver\.Join: no answer within 2000 ms/],
  ];
  for (const [title, fault, message] of ANSWERS) {
    test(`a plugin that answers Join with ${title}: told, and nothing stays`, async () => {
      await create();
      net.misbehave({ 'NetworkDriver.Join': fault });
      const { code, err } = await lab.docker('run', '--rm', '--network', 'third', ...SLEEP);
      assert.equal(code, 125);
      assert.match(err, message);
      await until(() => Object.keys(net.state.endpoints).length === 0);
      assert.deepEqual(Object.values(ipam.state.addresses).flat(), ['10.77.0.1']);
      net.misbehave({});
      await lab.serve('c1', ['tcp:80'], '--network', 'third');
      await lab.ok('network', 'inspect', 'third');
    });
  }

  test('a network that the plugin refuses leaves neither pool nor network', async () => {
    net.misbehave({ 'NetworkDriver.CreateNetwork': '{"Err":"no such fabric"}' });
    const { err } = await lab.docker(
      ...['network', 'create', '-d', 'tpnet', '--ipam-driver', 'tpipam', 'third'],
    );
    assert.match(err, /plugin "tpnet": NetworkDriver\.CreateNetwork: no such fabric/);
    assert.equal(ipam.empty, true);
    assert.doesNotMatch(await lab.ok('network', 'ls'), /third/);
  });

  test('a plugin that dies: packets flow on; what it missed it is told when it returns', async () => {
    await create();
    await lab.serve('c1', ['tcp:80'], '--network', 'third');
    await lab.ok('run', '-d', '--name', 'c2', '--network', 'third', ...SLEEP);
    await Promise.all([net.stop(), ipam.stop()]);
    await eventually(() => lab.ask('c2', 'tcp', '10.77.0.2', 80), /^c1 10\.77\.0\.3$/);
    const refused = await lab.docker('run', '--rm', '--network', 'third', ...SLEEP);
    assert.match(refused.err, /plugin "tpipam": \S+: connect ECONNREFUSED/);
    await lab.ok('rm', '-f', 'c2');
    assert.equal(Object.keys(net.state.endpoints).length, 2);
    await Promise.all([net.start(), ipam.start()]);
    await until(() => Object.keys(net.state.endpoints).length === 1);
    await until(() => Object.values(ipam.state.addresses).flat().length === 2);
    await lab.ok('run', '-d', '--name', 'c3', '--network', 'third', ...SLEEP);
    await eventually(() => lab.ask('c3', 'tcp', '10.77.0.2', 80), /^c1 10\.77\.0\.3$/);
  });

  test('a daemon that is killed while a plugin works takes back what was half done', async () => {
    const killed = async (plugin: Plugin, method: string, ...command: string[]) => {
      plugin.misbehave({ [method]: 'hang' });
      plugin.forgetCalls();
      const answered = lab.docker(...command);
      await until(() => plugin.calls.some((call) => call.method === method));
      await lab.stop('SIGKILL');
      assert.notEqual((await answered).code, 0);
      plugin.misbehave({});
      await lab.start();
    };
    const order = ['network', 'create', '-d', 'tpnet', '--ipam-driver', 'tpipam', 'third'];
    await killed(net, 'NetworkDriver.CreateNetwork', ...order);
    await until(() => ipam.empty);
    assert.doesNotMatch(await lab.ok('network', 'ls'), /third/);
    await create();
    const run = ['run', '-d', '--name', 'c1', '--network', 'third', ...SLEEP];
    await killed(net, 'NetworkDriver.Join', ...run);
    await until(() => Object.keys(net.state.endpoints).length === 0);
    assert.deepEqual(Object.values(ipam.state.addresses).flat(), ['10.77.0.1']);
    await lab.ok('start', 'c1');
    await killed(net, 'NetworkDriver.Leave', 'rm', '-f', 'c1');
    await until(() => Object.keys(net.state.endpoints).length === 0);
    await killed(ipam, 'IpamDriver.ReleasePool', 'network', 'rm', 'third');
    await until(() => net.empty && ipam.empty);
    assert.doesNotMatch(await lab.ok('network', 'ls'), /third/);
  });

  test('a daemon that is killed takes over; what ended meanwhile is given back', async () => {
    await create();
    await lab.serve('c1', ['tcp:80'], '--network', 'third');
    await lab.ok('run', '-d', '--name', 'c2', '--network', 'third', ...SLEEP);
    await lab.ok('run', '-d', '--name', 'c3', '--network', 'third', 'host', 'sleep', '2');
    await lab.stop('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await lab.start();
    await eventually(() => lab.ask('c2', 'tcp', '10.77.0.2', 80), /^c1 10\.77\.0\.3$/);
    await until(() => Object.keys(net.state.endpoints).length === 2);
    assert.deepEqual(Object.values(ipam.state.addresses).flat().length, 3);
    for (const name of ['c1', 'c2', 'c3']) await lab.ok('rm', '-f', name);
    await lab.ok('network', 'rm', 'third');
    assert.equal(net.empty && ipam.empty, true);
  });
});
