#!/bin/sh
# The first process of a user-mode-linux whose root is this machine's file system, read only.
# Mounts control groups of version 2, loads what the test needs, runs it by Node, and turns the
# machine off. The kernel's command line has node=PROGRAM, script=FILE and modules=NAME,NAME.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
mkdir -p /run/netns /run/root/lib/modules
mount --bind /usr/lib/uml/modules /run/root/lib/modules
value() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" /proc/cmdline; }
for module in $(value modules | tr , ' '); do modprobe -d /run/root $module; done
ip link set lo up
"$(value node)" "$(value script)" 2>&1
echo o >/proc/sysrq-trigger
sleep 5
