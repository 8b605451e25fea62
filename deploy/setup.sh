#!/bin/bash
# Installs what the tests of this directory start: schemas of Kubernetes from a pinned
# wheel into .cache/deploy of the repository, Prometheus, rsyslog and the checks of
# systemd from the system's packages where we are root and there is an apt-get. Running
# it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/deploy
pins=(kubernetes-validate==1.37.0)

if [ "$(cat "$venv/installed" 2>/dev/null)" != "${pins[*]}" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${pins[@]}"
  echo "${pins[*]}" >"$venv/installed"
fi

# Some live in sbin, which is not on every PATH.
PATH=$PATH:/usr/sbin:/usr/local/sbin
missing=()
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v rsyslogd >/dev/null || missing+=(rsyslog)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "install these by hand: ${missing[*]}" >&2
  exit 1
fi

# The packages would start their services: a policy says no while they install.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}"
