#!/bin/bash
# Runs the canonical vgi-rpc conformance suite against a worker.
#
#   conformance/run.sh                             build bin/vgi-worker and run the whole suite
#   conformance/run.sh --fast                      one transport, without the 2 GiB echo
#   conformance/run.sh --client                    the client gate: our client against the reference server
#   conformance/run.sh [--...] WORKER [ARG ...]    another worker, more pytest arguments
#
# WORKER is an executable, or a command line in one argument; CONTRACT.md says
# what it has to do. ARGs alone go to bin/vgi-worker: conformance/run.sh -k
# TestCancel. The Python environment is made on first use; VGI_PYTHON_BIN names
# an interpreter that has it already.
#
# Prints totals for each group, what failed, pytest's own last line and one line
# of JSON; the log and the junit file stay in .cache/conformance. The exit status
# is pytest's, or 1 where a run of the whole selection (no ARG) did not pass as
# many tests as it should, or skipped any.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")

# How many tests there are, so that none can go missing.
transports= filter=
expected=2648
huge=4 # of these, the 2 GiB echo: 14 GiB on both ends together
fast_transports=pipe
fast_filter='(pipe or stdio) and not TestExternal'
fast_expected=315
client_expected=1211

if [ "${1:-}" = --help ]; then
  sed -n '2,/^set /{s/^# \{0,1\}//;/^set /!p}' "$0"
  exit 0
fi
case "${1:-}" in
--fast)
  shift
  transports=$fast_transports filter=$fast_filter expected=$fast_expected huge=0
  export VGI_SKIP_HUGE=1
  ;;
--client)
  shift
  (cd "$top" && CGO_ENABLED=0 go build -o bin/ ./conformance/cmd/vgi-client-driver) || exit 1
  export VGI_CLIENT_DRIVER=$top/bin/vgi-client-driver
  set -- "$here/reference/worker" "$@"
  client=yes
  ;;
esac
if [ "${VGI_SKIP_HUGE:-}" = 1 ]; then expected=$((expected - huge)); fi
worker=
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  worker=$1
  shift
fi
# A selection made by the caller has a count that only the caller knows.
if [ $# -gt 0 ]; then expected=0; fi
if [ -n "${VGI_TRANSPORTS:-}" ] || [ -n "${VGI_CLIENT_DRIVER:-}" ]; then
  expected=0
  if [ $# -eq 0 ] && [ "${client:-}" = yes ] && [ -z "${VGI_TRANSPORTS:-}" ]; then expected=$client_expected; fi
  transports=${VGI_TRANSPORTS:-} filter=''
fi
export VGI_TRANSPORTS=$transports

if [ -z "$worker" ]; then
  worker=$top/bin/vgi-worker
  (cd "$top" && CGO_ENABLED=0 go build -o "$worker" ./cmd/vgi-worker) || exit 1
elif [ -e "$worker" ]; then
  worker=$(readlink -f "$worker")
fi
export VGI_WORKER=$worker

py=${VGI_PYTHON_BIN:-}
if [ -z "$py" ]; then
  "$here/setup-python.sh" "$top/.cache/python" || exit 69
  py=$top/.cache/python/python
fi

# What a run writes is below one directory that goes with it: in /tmp, because
# the path of a socket has to be short.
VGI_RUN_DIR=$(mktemp -d /tmp/vgi-run-XXXXXX)
export VGI_RUN_DIR PYTHONDONTWRITEBYTECODE=1
trap 'rm -rf "$VGI_RUN_DIR"' EXIT
log=$VGI_RUN_DIR/pytest.log
junit=$VGI_RUN_DIR/junit.xml

cd "$here/suite" || exit 70
"$py" -m pytest -q --tb=short -n "${VGI_JOBS:-2}" --basetemp="$VGI_RUN_DIR/tmp" --junitxml="$junit" \
  -k "$filter" "$@" >"$log" 2>&1
rc=$?
results=$top/.cache/conformance
mkdir -p "$results"
cp -f "$log" "$results/"
[ ! -f "$junit" ] || cp -f "$junit" "$results/"
"$py" summary.py "$junit" "$worker" "$rc" "$expected" "$log"
verdict=$?
if [ $rc -ne 0 ]; then exit $rc; fi
exit $verdict
