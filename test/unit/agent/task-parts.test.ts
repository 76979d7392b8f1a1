import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { sctpPorts } from '../../../src/agent/plane/reservations.ts';
import { findAccount } from '../../../src/agent/runtime/accounts.ts';
import { becomeCommand, taskEnv } from '../../../src/agent/runtime/command-line.ts';
import { checkCommand, hostPath } from '../../../src/agent/runtime/command-lookup.ts';
import { startOf } from '../../../src/agent/runtime/holder.ts';
import { signalNumber } from '../../../src/agent/runtime/task.ts';
import { MAX_LINE_BYTES, TaskLog } from '../../../src/agent/runtime/task-log.ts';
import type { LogEntry } from '../../../src/link/agent-port.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-task-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const everything = { follow: false, tail: undefined, sinceNs: undefined, untilNs: undefined };
let logs = 0;
const clock = () => 1_700_000_000_000;
const newLog = () => new TaskLog(join(folder, `${logs++}.log`), clock, assert.fail);

test('a log gives back what was written, however it came in pieces', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (pieces) => {
      const log = newLog();
      for (const piece of pieces) log.append('stdout', Buffer.from(piece));
      log.flush();
      const entries = log.read(everything);
      const text = Buffer.concat(entries.map(({ line }) => line));
      assert.deepEqual(text, Buffer.concat(pieces.map((piece) => Buffer.from(piece))));
      const times = entries.map(({ timeNs }) => timeNs);
      assert.ok(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0n)));
      log.drop();
    }),
    { numRuns: 100 },
  );
});

test('streams keep their own lines; long lines are cut; tail and time choose', () => {
  const log = newLog();
  const told: LogEntry[] = [];
  const stop = log.follow((entry) => told.push(entry));
  log.append('stdout', Buffer.from('a1'));
  log.append('stderr', Buffer.from('b1\n'));
  log.append('stdout', Buffer.from('a2\n'));
  log.append('stdout', Buffer.alloc(MAX_LINE_BYTES + 5, 'x'));
  log.flush();
  const lines = log.read(everything).map(({ stream, line }) => `${stream} ${line.length}`);
  assert.deepEqual(lines, ['stderr 3', 'stdout 5', `stdout ${MAX_LINE_BYTES}`, 'stdout 5']);
  assert.equal(told.length, 4);
  stop();
  assert.equal(log.read({ ...everything, tail: 2 }).length, 2);
  assert.equal(log.read({ ...everything, tail: 0 }).length, 0);
  const [, second] = log.read(everything);
  assert.equal(log.read({ ...everything, sinceNs: second?.timeNs }).length, 3);
  assert.equal(log.read({ ...everything, untilNs: second?.timeNs }).length, 2);
  log.close();
});

test('lines that a full disk does not take are lost, which is told once', () => {
  const told: string[] = [];
  const log = new TaskLog('/dev/full', clock, (reason) => told.push(reason));
  const seen: string[] = [];
  log.follow(({ line }) => seen.push(line.toString()));
  log.append('stdout', Buffer.from('one\ntwo\n'));
  log.close();
  assert.deepEqual(seen, ['one\n', 'two\n'], 'followers have them');
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /ENOSPC/);
});

const files = {
  passwd: 'root:x:0:0:root:/root:/bin/sh\nweb:x:1001:1002::/home/web:/bin/sh\n',
  group: 'root:x:0:\nweb:x:1002:\nssl:x:110:web,other\n',
};
const accounts: [string, string[], object][] = [
  ['', [], { uid: 0, gid: 0, groups: [], home: '/root' }],
  ['web', [], { uid: 1001, gid: 1002, groups: [110], home: '/home/web' }],
  ['1001', [], { uid: 1001, gid: 1002, groups: [110], home: '/home/web' }],
  ['web:ssl', [], { uid: 1001, gid: 110, groups: [], home: '/home/web' }],
  ['4000:5000', ['ssl'], { uid: 4000, gid: 5000, groups: [110], home: '/' }],
];
for (const [user, groups, want] of accounts) {
  test(`user "${user}"`, () => {
    assert.deepEqual(findAccount(user, groups, files), want);
  });
}
test('unknown users and groups', () => {
  assert.throws(() => findAccount('no', [], files), /unable to find user no/);
  assert.throws(() => findAccount('web:no', [], files), /unable to find group no/);
});

test('paths of a task lead to those of the host', () => {
  const mount = (target: string, kind: 'bind' | 'tmpfs' = 'bind') => ({
    kind,
    source: kind === 'bind' ? '/srv' : '',
    target,
    readOnly: false,
    options: [],
  });
  assert.equal(hostPath('/data/x', [mount('/data')]), '/srv/x');
  assert.equal(hostPath('/database', [mount('/data')]), '/database');
  assert.equal(hostPath('/tmp/x', [mount('/tmp', 'tmpfs')]), undefined);
  assert.equal(hostPath('/tmp/a/x', [mount('/tmp', 'tmpfs'), mount('/tmp/a')]), '/srv/x');
});

test('commands that cannot be run are refused in known words', () => {
  const env = ['PATH=/usr/bin:/bin'];
  checkCommand('sh', env, '/', (path) => path);
  checkCommand('./sh', env, '/bin', (path) => path);
  const refused: [string, RegExp][] = [
    ['', /executable file not found/],
    ['nosuch', /^exec: "nosuch": executable file not found in \$PATH$/],
    ['/nosuch', /stat \/nosuch: no such file or directory/],
    ['/etc', /is a directory: permission denied/],
    ['/etc/passwd', /permission denied/],
  ];
  for (const [command, message] of refused) {
    assert.throws(() => checkCommand(command, env, '/', (path) => path), {
      code: 'E_AGENT_EXEC',
      message,
    });
  }
});

test('rights are dropped in the order that leaves none', () => {
  const line = becomeCommand(
    (name) => name,
    {
      account: { uid: 1, gid: 2, groups: [3], home: '/' },
      capabilities: ['CAP_CHOWN', 'NET_RAW'],
      noNewPrivileges: true,
      privileged: false,
    },
    { argv: ['sh', '-c', 'a=b'], env: ['A=1'], cwd: '', tty: false },
  ).join(' ');
  assert.equal(
    line,
    'setsid setpriv --reuid=1 --regid=2 --groups=3 --bounding-set=-all,+chown,+net_raw ' +
      '--inh-caps=-all --no-new-privs env -i --default-signal=PIPE --chdir=/ A=1 sh -c a=b',
  );
});

test('what is missing in an environment is added, what is there stays', () => {
  const account = { uid: 0, gid: 0, groups: [], home: '/root' };
  const env = taskEnv({ env: ['HOME=/x', 'EMPTY='], tty: true }, account, 'box');
  assert.ok(env.includes('HOME=/x') && !env.includes('HOME=/root'));
  assert.ok(env.includes('TERM=xterm') && env.includes('HOSTNAME=box'));
});

test('signals by name and number, processes by their start', () => {
  assert.equal(signalNumber('SIGTERM'), 15);
  assert.equal(signalNumber('kill'), 9);
  assert.equal(signalNumber('10'), 10);
  assert.equal(signalNumber('SIGNO'), undefined);
  assert.equal(signalNumber('99'), undefined);
  const tail = Array.from({ length: 30 }, (_, n) => n).join(' ');
  assert.equal(startOf(`7 (a ) b) S ${tail}`), '18');
  assert.equal(startOf(`7 (a) Z ${tail}`), undefined);
});

test('the ports of SCTP sockets, as the kernel lists them', () => {
  const text = [
    ' ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS',
    'ffff8800  ffff8801 2   10  29   8088     0  1234 0.0.0.0 ',
    'ffff8810  ffff8811 2   10  30   9      1000  1235 192.0.2.1 192.0.2.2 ',
    '',
  ].join('\n');
  assert.deepEqual(sctpPorts(text), [8088, 9]);
  assert.deepEqual(sctpPorts(''), []);
});
