#!/bin/bash
# Installs logrotate, which the tests of the access log start, from the system's
# packages. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. .ci/install.sh
packages logrotate=logrotate
