#!/bin/bash
# Installs what the tests of this directory start beside the Python reference:
# OpenTelemetry for Python, and a collector of another maker, both pinned, into
# .cache/otel of the repository. Running it again does nothing.
set -euo pipefail
cd "$(dirname "$0")/../../.."
dir=.cache/otel
pins=(oteltap==1.0.0 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2)

python=${VGI_PYTHON_BIN:-${VGI_PY:-.cache/python}/python}
[ -x "$(command -v "$python")" ] || { echo "no Python with vgi-rpc: run conformance/setup-python.sh" >&2; exit 1; }
[ "$(cat "$dir/installed" 2>/dev/null)" != "${pins[*]}" ] || exit 0
rm -rf "$dir"
"$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --target "$PWD/$dir" "${pins[@]}"
echo "${pins[*]}" >"$dir/installed"
