import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually, freePorts } from '../support/gateway.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

/** Builds and packs as a release does, and unpacks it into `app`, as an installation would. */
function install(directory: string): string {
  const staged = join(directory, 'package');
  mkdirSync(staged);
  for (const name of ['package.json', 'bin', 'configs', 'docs', 'LICENSE', 'README.md']) {
    cpSync(join(ROOT, name), join(staged, name), { recursive: true });
  }
  const tsc = join(ROOT, 'node_modules/.bin/tsc');
  const outDir = join(staged, 'dist');
  execFileSync(tsc, ['-p', 'tsconfig.build.json', '--outDir', outDir], { cwd: ROOT });
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', directory], {
    cwd: staged,
  });
  const modules = join(directory, 'app', 'node_modules');
  const sluice = join(modules, 'sluice');
  mkdirSync(sluice, { recursive: true });
  const archive = join(directory, String(packed).trim());
  execFileSync('tar', ['-xzf', archive, '--strip-components=1', '-C', sluice]);
  // What a registry would bring, from here.
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  return sluice;
}

async function serve(t: TestContext, sluice: string, directory: string): Promise<number> {
  const [web = 0, demo = 0, admin = 0] = await freePorts(3);
  const config = join(directory, 'sluice.yaml');
  writeFileSync(
    config,
    `admin: { bind: "127.0.0.1:${admin}" }
workers: 2
demo: { whoami: "127.0.0.1:${demo}" }
listeners: { web: { bind: "127.0.0.1:${web}", protocol: http, service: whoami } }
services: { whoami: { endpoints: ["127.0.0.1:${demo}"] } }
`,
  );
  const cli = join(sluice, 'bin/sluice.js');
  execFileSync(process.execPath, [cli, 'check', '-c', config], { stdio: 'ignore' });
  const daemon = spawn(process.execPath, [join(sluice, 'bin/sluiced.js'), '-c', config], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  daemon.stdout.on('data', (data) => {
    output += data;
  });
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  t.after(async () => {
    daemon.kill('SIGTERM');
    await ended;
  });
  await eventually('it says what to try next', () => output.includes('Try next'));
  return web;
}

test('a release runs from what `npm pack` makes', { timeout: 120_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-release-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const sluice = install(directory);
  assert.ok(!readdirSync(sluice).includes('src'), 'a release holds no sources');
  const port = await serve(t, sluice, directory);
  assert.match(await (await fetch(`http://127.0.0.1:${port}/`)).text(), /^whoami 127\.0\.0\.1:/);
});
