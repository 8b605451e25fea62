#!/bin/bash
# Installs what the tests below this directory start: Prometheus and its promtool
# from the system's packages, and Bugsink, a server that takes what is sent to
# Sentry, pinned, into .cache/bugsink of the repository. Running it again does
# nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/install.sh
PIP_ONLY_BINARY=:none: wheels .cache/bugsink bugsink==2.6.1
packages prometheus=prometheus promtool=prometheus
