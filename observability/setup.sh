#!/bin/bash
# Installs what the tests below this directory start: Prometheus and its promtool
# from the system's packages where we are root and there is an apt-get, and
# Bugsink, a server that takes what is sent to Sentry, from a pinned wheel into
# .cache/bugsink of the repository. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/bugsink
pin=bugsink==2.6.1

if [ "$(cat "$venv/installed" 2>/dev/null)" != "$pin" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$pin"
  echo "$pin" >"$venv/installed"
fi

! command -v prometheus >/dev/null || ! command -v promtool >/dev/null || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "install these by hand: prometheus with promtool" >&2
  exit 1
fi
# The package would start its service: a policy says no while it installs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends prometheus
