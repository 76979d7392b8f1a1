# Sourced by scripts that take a program from another Debian release. Sets `mirror` to the Debian mirror
# that this machine is configured to use, and `keyring`; ends the script when there is none.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list \
    2>/dev/null | sed -nE \
    -e 's/^URIs:[[:space:]]*([^[:space:]]+\/debian)\/?([[:space:]].*)?$/\1/p' \
    -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+\/debian)\/?[[:space:]].*$/\2/p' |
    head -n 1
)
if [ -z "$mirror" ]; then
  echo "$(basename "$0"): no Debian mirror is configured on this machine" >&2
  exit 1
fi
