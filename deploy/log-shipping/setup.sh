#!/bin/bash
# Installs logrotate, which the tests of the access log start, from the system's
# packages where we are root and there is an apt-get. Running it again does
# nothing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/usr/local/sbin
! command -v logrotate >/dev/null || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "install this by hand: logrotate" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends logrotate
