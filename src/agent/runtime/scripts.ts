/*
 * The way of a command into its namespaces. On it, descriptor 2 leads to the agent, which takes
 * what is said there as the reason of a failure, until the word "ok"; descriptor 3 is the command's
 * own standard error.
 */

/** The last word on the way; the command follows. */
export const STARTED = 'ok\n';

/**
 * Waits for a command and keeps how it ended, so that no agent has to be there at that moment. The
 * file is opened at once: the command's mounts may hide its path. What is said when nobody listens
 * any more is no reason to end. Arguments: folder, command…
 */
export const WAIT_SCRIPT = `
trap '' PIPE
exec 9> "$1/exit"; shift
"$@" 9>&-
c=$?
echo $c >&9
exit $c`;

/** Joins the control groups that a file lists. Arguments: file, command… */
export const JOIN_SCRIPT = `
set -e
f=$1; shift
while read -r c; do echo 0 > "$c"; done < "$f"
exec "$@" `;

/** Becomes the command. */
export const BECOME_SCRIPT = `
echo ok >&2
exec "$@" 2>&3 3>&-`;

/**
 * Runs in the new namespaces of a task: makes its mounts, then becomes the command.
 * Arguments: folder, host name (empty: the host's), command…
 */
export const ENTER_SCRIPT = `
set -e
d=$1 h=$2; shift 2
read -r stat < /proc/self/stat
echo "$stat" > "$d/pid"
while read -r c; do echo 0 > "$c"; done < "$d/cgroups"
if [ -n "$h" ]; then
  { echo "$h" > /proc/sys/kernel/hostname; } 2>/dev/null || hostname "$h"
fi
mount -a -T "$d/fstab"
${BECOME_SCRIPT}`;
