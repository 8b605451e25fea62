#!/bin/bash
# Installs what the tests of this directory start: schemas of Kubernetes from a pinned
# wheel into .cache/deploy of the repository, Prometheus, rsyslog and the checks of
# systemd from the system's packages. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/install.sh
wheels .cache/deploy kubernetes-validate==1.37.0
packages prometheus=prometheus promtool=prometheus systemd-analyze=systemd rsyslogd=rsyslog
