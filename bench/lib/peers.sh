#!/bin/sh
# Puts haproxy 3.2 and nginx 1.30 with the libraries that they need below TARGET_DIR, without installing
# them, and makes TARGET_DIR/run-haproxy and run-nginx. They come from Debian forky of this machine's
# mirror.
# Usage: peers.sh TARGET_DIR
set -eu

target=$(realpath -m "${1:?usage: peers.sh TARGET_DIR}")

[ -x "$target/run-nginx" ] && exit 0

. "$(dirname "$0")/../../test/support/install/mirror.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
echo "deb [signed-by=$keyring] $mirror forky main" >"$work/sources.list"
# An empty list of installed packages, so that the libraries of that release come along.
: >"$work/status"

apt() {
  apt-get -qq -o Dir::State::status="$work/status" -o Dir::State::lists="$work/lists" \
    -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist="$work/sources.list" \
    -o Dir::Etc::sourceparts="$work/parts" -o APT::Sandbox::User=root "$@"
}

apt update >&2
apt -y --no-install-recommends --download-only install \
  haproxy nginx-light libnginx-mod-stream >&2
mkdir -p "$target"
for package in "$work"/cache/archives/*.deb; do
  dpkg-deb -x "$package" "$target"
done
loader=$(find "$target" -name 'ld-linux-*.so.*' | head -n 1)
libraries=$(dirname "$(find "$target" -name 'libc.so.6' | head -n 1)")
for name in haproxy nginx; do
  cat >"$target/run-$name" <<RUN
#!/bin/sh
exec $loader --library-path $libraries $target/usr/sbin/$name "\$@"
RUN
  chmod +x "$target/run-$name"
done
