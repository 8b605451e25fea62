#!/bin/bash
# Runs the resource soak of the canonical suite against bin/vgi-worker over every
# transport that the Python client speaks, at scale 20 unless VGI_RPC_SOAK_SCALE
# says otherwise: about a minute for each transport and 20 of the scale.
#
#   conformance/soak/canonical/run.sh [ARG ...]    more pytest arguments
#
# The figures of every test are printed, and stay in .cache/soak/canonical.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../../..")

export VGI_RPC_SOAK_SCALE=${VGI_RPC_SOAK_SCALE:-20}
export VGI_RPC_SOAK_REPORT_DIR=$top/.cache/soak/canonical
export VGI_WORKER=${VGI_WORKER:-$top/bin/vgi-worker}
# The smallest batches of the soak go through shared memory, too.
export VGI_RPC_SHM_MIN_BATCH_BYTES=1
if [ "$VGI_WORKER" = "$top/bin/vgi-worker" ]; then
  (cd "$top" && CGO_ENABLED=0 go build -o "$VGI_WORKER" ./cmd/vgi-worker) || exit 1
fi
py=${VGI_PYTHON_BIN:-}
if [ -z "$py" ]; then
  "$top/conformance/setup-python.sh" "$top/.cache/python" || exit 69
  py=$top/.cache/python/python
fi

# In /tmp, because the path of a socket has to be short.
VGI_RUN_DIR=$(mktemp -d /tmp/vgi-soak-XXXXXX)
export VGI_RUN_DIR PYTHONDONTWRITEBYTECODE=1
trap 'rm -rf "$VGI_RUN_DIR"' EXIT
rm -rf "$VGI_RPC_SOAK_REPORT_DIR"
"$py" -m pytest -q --tb=short -p no:cacheprovider -o timeout_func_only=true --basetemp="$VGI_RUN_DIR/tmp" \
  --rootdir="$here" -W ignore::DeprecationWarning "$here" "$@"
rc=$?
"$py" - "$VGI_RPC_SOAK_REPORT_DIR" <<'PY'
import json, pathlib, sys

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    r = json.loads(path.read_text())
    before, after = r["baseline"], r["samples"][-1]
    what = ", ".join(f"{k} {before[k]} -> {after[k]}" for k in ("descriptors", "threads", "children"))
    print(f"{r['target']} {r['scenario']}: {r['operations']} operations, RSS {before['rss_bytes'] / 2**20:.1f} -> "
          f"{after['rss_bytes'] / 2**20:.1f} MiB ({r['rss_slope_bytes_per_epoch'] / 1024:+.0f} KiB/epoch), {what}")
PY
exit $rc
