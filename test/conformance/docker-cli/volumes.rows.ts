import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { imageRow, makeArchive } from './busybox.ts';
import type { Lab } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

/** Folders that every host has and nobody needs: mounts of the image `host` need some. */
const [A, B] = ['/mnt', '/srv'];

/** Runs a script in a new container of the host's image. */
function sh(lab: Lab, options: readonly string[], script: string): Promise<string> {
  return lab.ok('run', '--rm', ...options, 'host', 'sh', '-c', script);
}

/** The one mount of a container as inspection shows it. */
async function mountOf(lab: Lab, name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await lab.inspect(name, '{{json (index .Mounts 0)}}'));
}

function volumes(lab: Lab, ...options: string[]): Promise<string> {
  return lab.ok('volume', 'ls', '-q', ...options);
}

rows(
  [],
  [
    row('RS-16', 'a volume is made, listed, inspected and removed', async (lab) => {
      assert.equal(await lab.ok('volume', 'create', '--label', 'a=b', 'data'), 'data');
      assert.equal(await lab.ok('volume', 'create', 'data'), 'data', 'the same again');
      assert.match(await lab.ok('volume', 'ls'), /^local\s+data$/m);
      const shown = await lab.ok(
        ...['volume', 'inspect', 'data', '-f', '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}'],
      );
      assert.equal(shown, 'data local local map[a:b]');
      const path = await lab.ok('volume', 'inspect', '-f', '{{.Mountpoint}}', 'data');
      assert.ok(existsSync(path));
      assert.equal(await volumes(lab, '-f', 'label=a=b', '-f', 'name=dat'), 'data');
      assert.equal(await volumes(lab, '-f', 'label=a=c'), '');
      assert.equal(await volumes(lab, '-f', 'driver=local', '-f', 'dangling=true'), 'data');
      assert.equal(await volumes(lab, '-f', 'dangling=false'), '');
      refused(await lab.docker('volume', 'ls', '-f', 'x=y'), /invalid filter 'x'/);
      assert.equal(await lab.ok('volume', 'rm', 'data'), 'data');
      assert.ok(!existsSync(path));
      refused(await lab.docker('volume', 'rm', 'data'), /get data: no such volume/);
      await lab.ok('volume', 'rm', '-f', 'data');
      refused(await lab.docker('volume', 'inspect', 'data'), /get data: no such volume/);
    }),
    row('RS-16', 'names, drivers and options that cannot be are refused', async (lab) => {
      refused(
        await lab.docker('volume', 'create', 'a/b'),
        /create a\/b: "a\/b" includes invalid characters for a local volume name, only "\[a-zA-Z0-9\]\[a-zA-Z0-9_\.-\]" are allowed/,
      );
      refused(await lab.docker('volume', 'create', 'a'), /volume name is too short/);
      refused(await lab.docker('volume', 'create', '-d', 'no', 'data'), /plugin "no" not found/);
      refused(await lab.docker('run', '-v', 'a!b:/mnt', 'host', 'true'), /invalid characters/, 125);
      refused(await lab.docker('run', '-v', 'data:/', 'host', 'true'), /can't be '\/'/, 125);
      refused(await lab.docker('run', '-v', `data:${A}:no`, 'host', 'true'), /invalid mode/, 125);
      const twice = ['-v', `data:${A}`, '-v', `more:${A}`];
      refused(await lab.docker('run', ...twice, 'host', 'true'), /Duplicate mount point: /, 125);
      assert.equal(await volumes(lab), '', 'what is refused leaves nothing');
    }),
    row('RS-16', 'files of a volume outlive containers and are seen by others', async (lab) => {
      await sh(lab, ['-v', `data:${A}`], `echo kept > ${A}/file`);
      assert.equal(await sh(lab, ['-v', `data:${B}:ro`], `cat ${B}/file`), 'kept');
      refused(
        await lab.docker('run', '--rm', '-v', `data:${B}:ro`, 'host', 'touch', `${B}/more`),
        /Read-only file system/,
      );
      assert.ok(!existsSync(join(A, 'file')), 'nothing is written to the host');
      assert.equal(await volumes(lab), 'data', 'one with a name stays');
      await lab.ok('volume', 'rm', 'data');
    }),
    row('RS-16', 'inspection shows mounts as they are', async (lab) => {
      const path = join(lab.folder, 'made');
      const long = `type=volume,source=data,target=${A},readonly,volume-label=x=y`;
      await lab.ok('create', '--name', 'c1', '--mount', long, 'host', 'true');
      const source = await lab.ok('volume', 'inspect', '-f', '{{.Mountpoint}}', 'data');
      assert.deepEqual(await mountOf(lab, 'c1'), {
        ...{ Type: 'volume', Name: 'data', Source: source, Destination: A, Driver: 'local' },
        ...{ Mode: 'z', RW: false, Propagation: '' },
      });
      assert.equal(await lab.ok('volume', 'inspect', '-f', '{{.Labels}}', 'data'), 'map[x:y]');
      await lab.ok('run', '--name', 'c2', '-v', `${path}:${A}:ro`, 'host', 'true');
      assert.deepEqual(await mountOf(lab, 'c2'), {
        ...{ Type: 'bind', Source: path, Destination: A },
        ...{ Mode: 'ro', RW: false, Propagation: 'rprivate' },
      });
      assert.ok(existsSync(path), 'the short form makes the folder');
      await lab.ok('run', '--name', 'c3', '-v', A, 'host', 'true');
      const made = await mountOf(lab, 'c3');
      assert.match(String(made['Name']), /^[0-9a-f]{64}$/);
      assert.equal(made['Mode'], '');
      assert.equal(await lab.ok('ps', '-a', '-f', 'volume=data', '--format', '{{.Names}}'), 'c1');
      assert.match(await lab.ok('ps', '-a', '--format', '{{.Names}} {{.Mounts}}'), /c1 data/);
      await lab.ok('rm', '-v', 'c1', 'c2', 'c3');
      await lab.ok('volume', 'rm', 'data');
    }),
    row('DS-49', 'a source of the long form has to be there', async (lab) => {
      const mount = `type=bind,source=/no/such,target=${A}`;
      refused(
        await lab.docker('run', '--rm', '--mount', mount, 'host', 'true'),
        /invalid mount config for type "bind": bind source path does not exist: \/no\/such/,
        125,
      );
    }),
    row('RR-16', '--rm and rm -v take volumes without a name, and no others', async (lab) => {
      await lab.ok('run', '--rm', '-v', A, '-v', `data:${B}`, 'host', 'true');
      await eventually(() => volumes(lab), /^data$/);
      await lab.ok('run', '--name', 'c1', '-v', A, 'host', 'true');
      const name = String((await mountOf(lab, 'c1'))['Name']);
      await lab.ok('rm', 'c1');
      assert.match(await volumes(lab), new RegExp(name), 'without -v it stays');
      assert.match(await lab.ok('volume', 'prune', '-f'), new RegExp(`${name}[\\s\\S]*reclaimed`));
      await lab.ok('run', '--name', 'c2', '-v', A, 'host', 'true');
      await lab.ok('rm', '-v', 'c2');
      assert.equal(await volumes(lab), 'data');
      assert.match(await lab.ok('volume', 'prune', '-af'), /Deleted Volumes:\ndata/);
    }),
    row('RS-16', 'a volume in use stays', async (lab) => {
      const id = await lab.ok('create', '--name', 'c1', '-v', `data:${A}`, 'host', 'true');
      const wanted = new RegExp(`remove data: volume is in use - \\[${id}\\]`);
      refused(await lab.docker('volume', 'rm', 'data'), wanted);
      refused(await lab.docker('volume', 'rm', '-f', 'data'), wanted);
      assert.equal(await volumes(lab, '-f', 'dangling=true'), '');
      await lab.ok('volume', 'prune', '-af');
      assert.equal(await volumes(lab), 'data');
      await lab.ok('rm', 'c1');
      await lab.ok('volume', 'rm', 'data');
    }),
    row('RS-16', '--volumes-from takes over what another container has', async (lab) => {
      const folder = join(lab.folder, 'from');
      mkdirSync(folder);
      writeFileSync(join(folder, 'file'), 'of the host\n');
      await lab.ok('create', '--name', 'c1', '-v', A, '-v', `${folder}:${B}`, 'host', 'true');
      const from = ['--volumes-from', 'c1'];
      assert.equal(await sh(lab, from, `echo x > ${A}/f; cat ${B}/file`), 'of the host');
      const readOnly = ['--volumes-from', 'c1:ro'];
      assert.equal(
        await sh(lab, readOnly, `cat ${A}/f; touch ${A}/g 2>/dev/null || echo no`),
        'x\nno',
      );
      assert.equal(await sh(lab, [...from, '-v', `data:${B}`], `ls ${B}`), '', 'its own wins');
      refused(
        await lab.docker('run', '--volumes-from', 'nope', 'host', 'true'),
        /No such container/,
        125,
      );
      refused(
        await lab.docker('run', '--volumes-from', 'c1:x', 'host', 'true'),
        /invalid mode: x/,
        125,
      );
      await lab.ok('rm', '-v', 'c1');
      assert.equal(await volumes(lab), 'data');
      await lab.ok('volume', 'rm', 'data');
    }),
    row('RS-15', 'memory file systems in both forms, with size and mode', async (lab) => {
      const short = ['--tmpfs', `${A}:rw,noexec,nosuid,size=65536k`];
      assert.match(await sh(lab, short, `grep ' ${A} ' /proc/self/mounts`), /noexec.*size=65536k/);
      const long = ['--mount', `type=tmpfs,target=${A},tmpfs-size=1048576,tmpfs-mode=1770`];
      const seen = await sh(lab, long, `grep ' ${A} ' /proc/self/mounts; stat -c %a ${A}`);
      assert.match(seen, /size=1024k.*\n1770$/);
      await lab.ok('create', '--name', 'c1', ...short, 'host', 'true');
      assert.equal(await lab.inspect('c1', '{{json .Mounts}}'), '[]');
    }),
    row('RS-16', 'events tell of volumes', async (lab) => {
      const since = String(Date.now() / 1000);
      await lab.ok('run', '--rm', '--name', 'c1', '-v', `data:${A}`, 'host', 'true');
      await lab.ok('volume', 'rm', 'data');
      const format = '{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes "destination"}}';
      const said = async () =>
        lab.ok(
          ...['events', '--since', since, '--until', String(Date.now() / 1000)],
          ...['--filter', 'type=volume', '--format', format],
        );
      await eventually(said, /^create data \nmount data \/mnt\nunmount data \ndestroy data ?$/);
    }),
    row('SE-02', 'who owns files is the same inside and outside', async (lab) => {
      await sh(lab, ['--user', '10000:10000', '-v', 'data:/tmp'], 'touch /tmp/mine');
      const path = await lab.ok('volume', 'inspect', '-f', '{{.Mountpoint}}', 'data');
      const owner = await lab.host('stat', '-c', '%u:%g', join(path, 'mine'));
      assert.equal(owner.out.trim(), '10000:10000');
      await lab.ok('volume', 'rm', 'data');
    }),
    row('DD-27', 'volumes and what is in them outlive the daemon', async (lab) => {
      await sh(lab, ['-v', `data:${A}`], `echo kept > ${A}/file`);
      await lab.ok('create', '--name', 'c1', '-v', A, 'host', 'true');
      const before = await volumes(lab);
      await lab.stop('SIGKILL');
      await lab.start();
      assert.equal(await volumes(lab), before);
      assert.equal(await sh(lab, ['-v', `data:${B}`], `cat ${B}/file`), 'kept');
      const usage = await lab.ok('system', 'df', '-v', '--format', '{{json .Volumes}}');
      assert.match(usage, /"Name":"data"/);
      await lab.ok('rm', '-v', 'c1');
      await lab.ok('volume', 'rm', 'data');
    }),
    imageRow('RS-16', 'an empty volume gets what the image has there', async (lab) => {
      await lab.ok('import', '--change', 'VOLUME /etc/more', makeArchive(lab), 'filled:1');
      const script = 'ls /seed/bin | head -3; touch /seed/mine';
      const first = await lab.ok('run', '--rm', '-v', 'data:/seed', 'filled:1', 'sh', '-c', script);
      assert.equal(first, '', 'the image has no such folder');
      await lab.ok('volume', 'rm', 'data');
      const bin = ['-v', 'data:/bin', 'filled:1', 'sh', '-c', 'ls /bin | grep -c .; rm /bin/wget'];
      const count = Number(await lab.ok('run', '--rm', ...bin));
      assert.ok(count > 10, 'the programs are there');
      const path = await lab.ok('volume', 'inspect', '-f', '{{.Mountpoint}}', 'data');
      assert.ok(readFileSync(join(path, 'busybox')).length > 0);
      const again = ['-v', 'data:/bin', 'filled:1', 'sh', '-c', 'ls /bin | grep -c .'];
      assert.equal(await lab.ok('run', '--rm', ...again), String(count - 1), 'once only');
      const none = ['--mount', 'type=volume,source=bare,target=/tmp,volume-nocopy', 'filled:1'];
      assert.equal(await lab.ok('run', '--rm', ...none, 'ls', '/tmp'), '');
      await lab.ok('run', '-d', '--name', 'c1', 'filled:1', 'sleep', '60');
      const made = await mountOf(lab, 'c1');
      assert.match(
        `${made['Type']} ${made['Name']} ${made['Destination']}`,
        /^volume [0-9a-f]{64} \/etc\/more$/,
      );
      assert.equal(await lab.inspect('filled:1', '{{json .Config.Volumes}}'), '{"/etc/more":{}}');
      await lab.ok('rm', '-fv', 'c1');
      await lab.ok('volume', 'rm', 'data', 'bare');
      assert.equal(await volumes(lab), '');
      await lab.ok('rmi', 'filled:1');
    }),
  ],
);
