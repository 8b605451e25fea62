#!/bin/bash
# Installs the OpenID provider that tests start, into .cache/oidc of the
# repository. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
npm=oidc-provider@9.13.3

dir=$PWD/.cache/oidc
[ "$(cat "$dir/installed" 2>/dev/null)" != "$npm" ] || exit 0
mkdir -p "$dir"
npm install --silent --no-fund --no-audit --prefix "$dir/npm" "$npm"
echo "$npm" >"$dir/installed"
