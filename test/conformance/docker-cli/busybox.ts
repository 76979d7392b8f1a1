import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Lab } from './lab.ts';
import { row } from './rows.ts';

const APPLETS = [
  ...['cat', 'echo', 'env', 'hostname', 'id', 'ip', 'ls', 'mount', 'nc', 'nslookup', 'ping'],
  ...['sh', 'sleep', 'wget', 'touch', 'rm', 'dd', 'tail', 'tar', 'stat', 'cp', 'grep', 'head'],
  ...['mkdir', 'ln', 'true', 'chmod', 'chown'],
];

function absent(): string | undefined {
  const names = ['/usr/bin/podman', '/bin/busybox'];
  const missing = names.filter((path) => !existsSync(path));
  return missing.length > 0 ? `needs ${missing.join(', ')}` : undefined;
}

/** Files of an image with nothing but busybox, as an archive. */
export function makeArchive(lab: Lab): string {
  const archive = join(lab.folder, 'busybox.tar');
  if (existsSync(archive)) return archive;
  const root = join(lab.folder, 'rootfs');
  for (const folder of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const name of APPLETS) symlinkSync('busybox', join(root, 'bin', name));
  // Debian has it linked statically or not.
  const libraries = /\/\S+/g;
  let needed = '';
  try {
    needed = execFileSync('ldd', ['/bin/busybox'], { encoding: 'utf8', stdio: 'pipe' });
  } catch {
    // A static one has none.
  }
  for (const [path] of needed.matchAll(libraries)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
  }
  execFileSync('tar', ['-C', root, '-cf', archive, '.']);
  return archive;
}

/** Makes the image `bb:1` unless it is there. */
export async function needImage(lab: Lab): Promise<string | undefined> {
  const reason = absent();
  if (reason !== undefined) return reason;
  if ((await lab.docker('image', 'inspect', 'bb:1')).code === 0) return undefined;
  await lab.ok(
    ...['import', '--change', 'CMD ["sh", "-c", "echo default"]', '--change', 'ENV COLOUR=red'],
    ...['--change', 'LABEL origin=lab', '--change', 'EXPOSE 80', makeArchive(lab), 'bb:1'],
  );
  return undefined;
}

/** A row that is skipped where there is no podman. */
export function imageRow(id: string, what: string, run: (lab: Lab) => Promise<unknown>) {
  return row(id, what, async (lab) => (await needImage(lab)) ?? run(lab));
}

/** Makes an image by what a Containerfile says after its first line; nothing of it may run. */
export async function buildImage(lab: Lab, name: string, ...lines: string[]): Promise<void> {
  const file = join(lab.folder, 'Containerfile');
  const [from] = JSON.parse(await lab.ok('image', 'inspect', '-f', '{{json .RepoTags}}', 'bb:1'));
  const stored = (await lab.podman('images', '--format', '{{.Repository}}:{{.Tag}}'))
    .split('\n')
    .find((one) => one.endsWith(from));
  writeFileSync(file, [`FROM ${stored}`, ...lines, ''].join('\n'));
  const how = ['--format=docker', '--isolation=chroot', '--pull=never', `--file=${file}`];
  await lab.podman('build', ...how, `--tag=docker.io/library/${name}`, lab.folder);
}
