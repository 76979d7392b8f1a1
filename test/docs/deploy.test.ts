import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const DEPLOY = join(ROOT, 'helm-free-deploy');
const text = (name: string) => readFileSync(join(DEPLOY, name), 'utf8');

/** Loads a configuration as the daemon would; its first listener's port. */
function portOf(config: string): number {
  const result = loadConfig(['x.yaml'], {
    readFile: (path) => (path === 'x.yaml' ? config : undefined),
    env: { SLUICE_TOKEN: 't' },
  });
  assert.ok(result.ok, JSON.stringify(result));
  const bind = Object.values(result.config.listeners)[0]?.bind[0];
  assert.equal(bind?.kind, 'ip');
  return bind?.kind === 'ip' ? bind.port : 0;
}

const help = execFileSync(process.execPath, [join(ROOT, 'src/main/sluiced.ts'), '--help'], {
  encoding: 'utf8',
});

test('compose: flags that there are, files that there are, the port that is published', () => {
  const { services } = parse(text('compose.yaml')) as {
    services: Record<
      string,
      { command?: string[]; ports?: string[]; volumes?: string[]; build?: { dockerfile: string } }
    >;
  };
  const { command = [], ports = [], volumes = [], build } = services['gateway'] ?? {};
  for (const flag of command.filter((arg) => arg.startsWith('--'))) assert.ok(help.includes(flag));
  assert.ok(existsSync(join(ROOT, build?.dockerfile ?? 'none')));
  const [file = '', target] = volumes[0]?.split(':') ?? [];
  assert.equal(command[1], target);
  assert.equal(Number(ports[0]?.split(':')[1]), portOf(text(file)));
});

test('Dockerfile: copies what is there', () => {
  const copied = [...text('Dockerfile').matchAll(/^COPY (.+) \S+$/gm)].flatMap(([, paths = '']) =>
    paths.split(' '),
  );
  assert.ok(copied.length >= 4);
  for (const path of copied) assert.ok(existsSync(join(ROOT, path)), path);
});

test('kubernetes: the configuration loads, ports and names fit each other', () => {
  const documents = parseAllDocuments(text('kubernetes.yaml')).map((one) => one.toJS());
  const [config, secret, deployment, service] = documents;
  assert.deepEqual(
    documents.map(({ kind }) => kind),
    ['ConfigMap', 'Secret', 'Deployment', 'Service'],
  );
  const [container] = deployment.spec.template.spec.containers;
  for (const flag of container.args.filter((arg: string) => arg.startsWith('--'))) {
    assert.ok(help.includes(flag));
  }
  const ports = Object.fromEntries(
    container.ports.map(({ name, containerPort }: never) => [name, containerPort]),
  );
  assert.equal(ports.web, portOf(config.data['sluice.yaml']));
  assert.equal(service.spec.ports[0].targetPort, 'web');
  assert.deepEqual(service.spec.selector, deployment.spec.template.metadata.labels);
  assert.ok(container.env[0].valueFrom.secretKeyRef.key in secret.stringData);
  assert.ok(dirname(container.args[1]) === container.volumeMounts[0].mountPath);
});

const UNITS = readdirSync(DEPLOY).filter((name) => /\.(service|socket)$/.test(name));

const noVerify =
  spawnSync('systemd-analyze', ['--version']).status === 0 ? false : 'needs systemd-analyze';

test('systemd units: verified, with the daemon in place', { skip: noVerify }, (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-units-'));
  t.after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'units'));
  for (const name of UNITS) {
    writeFileSync(
      join(root, 'units', name),
      text(name).replaceAll(/\/usr\/bin\/sluice[\w-]*/g, '/bin/true'),
    );
  }
  const units = UNITS.map((name) => join(root, 'units', name));
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...units], {
    encoding: 'utf8',
  });
  const own = stderr.split('\n').filter((line) => /sluice[\w-]*\.(service|socket)/.test(line));
  assert.deepEqual(own, []);
  if (status !== 0) t.diagnostic(stderr);
});
