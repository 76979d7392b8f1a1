import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { eventually, freePorts } from '../support/gateway.ts';

/*
 * The image without a container engine: the steps of the Dockerfile are taken in a folder of their
 * own, with the packages that `npm ci --omit=dev` would install, and what the manifests say is run
 * from there as the user that they name.
 */
const ROOT = new URL('../../', import.meta.url).pathname;
const DEPLOY = join(ROOT, 'helm-free-deploy');
const NOBODY = 65_534;
const SWITCH = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups'];
const PREFIX = ['setpriv', ...SWITCH, '--bounding-set', '-all', '--no-new-privs'];

const isRoot = process.getuid?.() === 0;
const skip = isRoot && spawnSync('setpriv', ['--version']).status !== 0 ? 'needs setpriv' : false;
let image = '';

type Lock = { packages: Record<string, { dev?: boolean; devOptional?: boolean }> };

/** What is needed without development: the same tree, from the packages that are here. */
function installPackages(folder: string): void {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as Lock;
  for (const [path, { dev }] of Object.entries(packages)) {
    if (path === '' || dev || !existsSync(join(ROOT, path))) continue;
    cpSync(join(ROOT, path), join(folder, path), {
      recursive: true,
      filter: (from) => !from.slice(ROOT.length + path.length).includes('node_modules'),
    });
  }
}

/** Takes one step of the Dockerfile; throws at one that it does not know. */
function take(step: string, root: string, workdir: string): string {
  const [word = '', rest = ''] = [step.split(' ')[0], step.slice(step.indexOf(' ') + 1)];
  const paths = rest.split(' ');
  if (word === 'FROM') assert.match(rest, /^node:26/);
  else if (word === 'WORKDIR') {
    mkdirSync(join(root, rest), { recursive: true });
    return rest;
  } else if (word === 'COPY') {
    const target = paths.pop() ?? '';
    for (const path of paths) {
      const to = target === './' ? path : target;
      cpSync(join(ROOT, path), join(root, workdir, to), { recursive: true });
    }
  } else if (word === 'RUN' && rest === 'npm ci --omit=dev') installPackages(join(root, workdir));
  else if (word === 'RUN') {
    for (const command of rest.split(' && ')) {
      const [, from = '', to = ''] =
        /^ln -s (\S+) (\S+)$/.exec(command.trim()) ?? assert.fail(command);
      mkdirSync(dirname(join(root, to)), { recursive: true });
      symlinkSync(join(root, from), join(root, to));
      assert.ok(existsSync(join(root, to)), `${to} leads somewhere`);
    }
  } else assert.equal(word, 'ENTRYPOINT');
  return workdir;
}

before(() => {
  image = mkdtempSync(join(tmpdir(), 'sluice-image-'));
  chmodSync(image, 0o755);
  const text = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8').replaceAll(/\s*\\\n\s*/g, ' ');
  let workdir = '/';
  for (const step of text.split('\n').filter(Boolean)) workdir = take(step, image, workdir);
});
after(() => rmSync(image, { recursive: true, force: true }));

/** Runs what a container would: its own programs, no environment, no privileges. */
function argvOf(command: readonly string[]): { file: string; args: string[] } {
  const [program = '', ...args] = command;
  const own = join(image, 'usr/local/bin', program);
  assert.ok(existsSync(own), `${program} is in the image`);
  const [file = '', ...rest] = [...(isRoot ? PREFIX : []), process.execPath, own, ...args];
  return { file, args: rest };
}

function environment(env: Record<string, string>) {
  // The base image's Node is the one that runs this test.
  const path = [dirname(process.execPath), process.env['PATH']].join(delimiter);
  return { PATH: path, ...env };
}

type Container = {
  args: readonly string[];
  config: string;
  probe: readonly string[];
  env?: Record<string, string>;
};

/** Starts a container's daemon on free ports, and asks it as the manifest's probe does. */
async function runs(t: TestContext, { args, config, probe, env = {} }: Container): Promise<void> {
  const [web = 0, admin = 0] = await freePorts(2);
  const moved = (text: string) =>
    text.replaceAll('8080', String(web)).replaceAll('9900', String(admin));
  const directory = mkdtempSync(join(tmpdir(), 'sluice-container-'));
  chmodSync(directory, 0o755);
  const path = join(directory, 'sluice.yaml');
  writeFileSync(path, moved(config));
  const { file, args: argv } = argvOf([
    'sluiced',
    ...args.map((arg) => (/\.yaml$/.test(arg) ? path : arg)),
  ]);
  const child = spawn(file, argv, {
    env: environment(env),
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      output += data;
    });
  }
  const ended = new Promise((resolve) => child.once('exit', resolve));
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  const asked = argvOf(probe.map(moved));
  const ask = () =>
    spawnSync(asked.file, asked.args, { env: environment(env), cwd: '/', encoding: 'utf8' });
  await eventually('the probe is content', () => ask().status === 0 || child.exitCode !== null);
  assert.equal(child.exitCode, null, output);
  // Its endpoints' names resolve nowhere here.
  const { status } = await fetch(`http://127.0.0.1:${web}/`);
  assert.equal(status, 503);
  child.kill('SIGTERM');
  assert.equal(await ended, 0, output);
  assert.notEqual(ask().status, 0, 'the probe tells of one that has ended');
  assert.doesNotMatch(output, /EACCES|EROFS/);
}

test('the image has what the daemon needs, and nothing for development', { skip }, () => {
  const { file, args } = argvOf(['sluiced', '--version']);
  const version = execFileSync(file, args, { env: environment({}), encoding: 'utf8' });
  assert.match(version, /^\d+\.\d+\.\d+/);
  const entrypoint = /^ENTRYPOINT (.*)$/m.exec(readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8'));
  assert.deepEqual(JSON.parse(entrypoint?.[1] ?? ''), ['sluiced']);
  assert.equal(existsSync(join(image, 'opt/sluice/node_modules/@biomejs')), false);
});

test('compose: the gateway starts as it says, and its health check works', { skip }, async (t) => {
  const { services } = parse(readFileSync(join(DEPLOY, 'compose.yaml'), 'utf8'));
  const { command, healthcheck, user, volumes } = services.gateway;
  assert.equal(user, `${NOBODY}:${NOBODY}`);
  const [how, ...probe] = healthcheck.test;
  assert.equal(how, 'CMD');
  const [file] = volumes[0].split(':');
  await runs(t, { args: command, config: readFileSync(join(DEPLOY, file), 'utf8'), probe });
});

test('kubernetes: the gateway starts as it says, and its probe works', { skip }, async (t) => {
  const text = readFileSync(join(DEPLOY, 'kubernetes.yaml'), 'utf8');
  const [config, secret, deployment] = parseAllDocuments(text).map((one) => one.toJS());
  const { containers, securityContext } = deployment.spec.template.spec;
  const [container] = containers;
  assert.equal(securityContext.runAsUser, NOBODY);
  await runs(t, {
    args: container.args,
    config: config.data['sluice.yaml'],
    probe: container.readinessProbe.exec.command,
    env: { [container.env[0].name]: secret.stringData.token },
  });
});
