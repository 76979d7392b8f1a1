import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { eventually } from './gateway.ts';

type Scope = { after(task: () => void): void };

const runs = (program: string) => spawnSync(program, ['--version']).status === 0;

/** Why the part of systemd cannot be played here; false when it can. */
export const noNotify =
  runs('systemd-notify') && runs('perl') ? false : 'needs systemd-notify and perl';
export const noPerl = runs('perl') ? false : 'needs perl';

/** Prints what is sent to a datagram socket, as systemd would take it; Node has no such sockets. */
const RECEIVER = `use Socket; $| = 1; my $name = shift;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; $name =~ s/^@/\\0/;
bind($s, pack("S", AF_UNIX) . $name) or die "$!"; print "bound\\n";
chmod 0666, $name; while (defined recv($s, my $text, 4096, 0)) { print "$text\\n" }`;

/** Starts a program with a listening socket as descriptor 3, as systemd would. */
const ACTIVATOR = `use Socket; use POSIX (); $^F = 255; my ($name, $where) = splice @ARGV, 0, 2;
my $path = $where =~ m{^/}; socket(my $s, $path ? PF_UNIX : PF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1); unlink $where if $path;
bind($s, $path ? pack_sockaddr_un($where) : pack_sockaddr_in($where, inet_aton("127.0.0.1")))
  or die "$!"; listen($s, 128); POSIX::dup2(fileno($s), 3);
$ENV{LISTEN_PID} = $$; $ENV{LISTEN_FDS} = 1; $ENV{LISTEN_FDNAMES} = $name; exec @ARGV;`;

/** What runs a program with a socket under a name, at a unix path or a port of 127.0.0.1. */
export function activated(name: string, where: string | number): string[] {
  return ['perl', '-e', ACTIVATOR, name, String(where)];
}

/** Takes what services tell their manager at a path, or an abstract name after `@`. */
export async function receive(
  t: Scope,
  name: string,
  prefix: readonly string[] = [],
): Promise<() => string> {
  const [file = '', ...args] = [...prefix, 'perl', '-e', RECEIVER, name];
  const receiver: ChildProcess = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => receiver.kill());
  let text = '';
  receiver.stdout?.on('data', (data) => {
    text += data;
  });
  await eventually('the socket is bound', () => text.includes('bound'));
  return () => text;
}
