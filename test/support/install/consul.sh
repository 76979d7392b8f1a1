#!/bin/sh
# Puts Debian's `consul` program below TARGET_DIR, without installing it, and prints its path.
# Later Debian releases carry none, so it comes from bullseye of the mirror this machine uses.
# Usage: consul.sh TARGET_DIR
set -eu

target=${1:?usage: consul.sh TARGET_DIR}
program=$target/usr/bin/consul

if [ -x "$program" ]; then
  echo "$program"
  exit 0
fi

. "$(dirname "$0")/mirror.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts" "$work/package"
echo "deb [signed-by=$keyring] $mirror bullseye main" >"$work/sources.list"
# The unprivileged user that apt fetches as must reach these directories.
chmod -R a+rX "$work"

apt() {
  apt-get -qq -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts" \
    -o APT::Sandbox::User=root "$@"
}

apt update >&2
(cd "$work/package" && apt download consul >&2)
mkdir -p "$target"
dpkg-deb -x "$work"/package/consul_*.deb "$target"
echo "$program"
