// Runs an entry point on a Node that can run it: from source in a checkout, from dist/ in a release.
// Plain JavaScript, because it is the only file that an old Node has to understand.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const OLDEST_MAJOR = 24;

export async function launch(name) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const source = `${root}src/main/${name}.ts`;
  const entry = existsSync(source) ? source : `${root}dist/main/${name}.js`;
  if (Number.parseInt(process.versions.node, 10) >= OLDEST_MAJOR) {
    await import(pathToFileURL(entry).href);
    return;
  }
  const bundled = `${root}node_modules/node/bin/node`;
  if (!existsSync(bundled)) {
    console.error(
      `${name}: needs Node ${OLDEST_MAJOR} or newer, this is ${process.version}; ` +
        'run `npm ci` in the checkout (it brings one) or install a newer Node',
    );
    process.exit(1);
  }
  const child = spawn(bundled, [entry, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('exit', (code, signal) => {
    if (signal) process.kill(process.pid, signal);
    else process.exit(code ?? 1);
  });
}
