#!/bin/bash
# Makes the Python environment of the examples: the canonical vgi-rpc client
# with pandas, Polars and DuckDB, in DIR.
#
#   examples/setup-python.sh [DIR]      (default: .cache/examples)
#
# DIR/bin/python is then the interpreter. Python 3.13 or newer is taken from
# $VGI_BASE_PYTHON, the PATH, pyenv, the environment of the conformance suite
# ($VGI_PY, or .cache/python) or uv, in this order; where that environment is a
# system of its own, DIR/bin/python runs in there, with this machine's Go for the
# workers. What gets installed is pinned in requirements.txt, as wheels alone. On a
# finished DIR the script changes nothing.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
lock=$here/requirements.txt
suite=$(readlink -m "${VGI_PY:-$here/../.cache/python}")
mkdir -p "${1:-$here/../.cache/examples}"
dir=$(readlink -f "${1:-$here/../.cache/examples}")
stamp=$dir/installed
want=$(sha256sum <"$lock")

# One maker at a time; a second one finds the work done. The lock stands beside
# the directory, which may be cleared.
exec 9>"$dir.lock"
flock 9

if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && "$dir/bin/python" -c '' 2>/dev/null; then exit 0; fi
rm -f "$stamp"

new_enough() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; }

find_python() {
  local p
  for p in ${VGI_BASE_PYTHON:-} python3.13 python3.14 python3 \
    "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.1[3-9].*/bin/python3 "$suite/venv/bin/python"; do
    p=$(command -v "$p" || true)
    if [ -n "$p" ] && new_enough "$p"; then
      echo "$p"
      return
    fi
  done
  return 1
}

# Python of the suite's own system, from its root, with the Go that builds workers.
with_enter() {
  cat >"$dir/enter" <<SH
#!/bin/sh
set -eu
export VGI_CHROOT_BINDS="\$(go env GOROOT GOMODCACHE GOCACHE | tr '\n' ' ')\${VGI_CHROOT_BINDS:-}"
export PATH="\$(go env GOROOT)/bin:\$PATH"
exec "$suite/enter" "\$@"
SH
  chmod +x "$dir/enter"
  # What is there may be links to a Python that was here before.
  rm -rf "$dir/bin"
  mkdir "$dir/bin"
  "$dir/enter" /usr/bin/python3.13 -m venv --clear "$dir/venv"
  printf '#!/bin/sh\nexec "%s/enter" "%s/venv/bin/python" "$@"\n' "$dir" "$dir" >"$dir/bin/python"
  chmod +x "$dir/bin/python"
  # Wheels of this machine's Python are not in there.
  env -u PIP_FIND_LINKS "$dir/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: -r "$lock"
}

if base=$(find_python); then
  "$base" -m venv --clear "$dir"
  "$dir/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: -r "$lock"
elif command -v uv >/dev/null && uv venv -q --clear --python 3.13 "$dir"; then
  uv pip install -q --only-binary :all: --python "$dir/bin/python" -r "$lock"
elif [ -x "$suite/enter" ]; then
  with_enter
else
  echo "no Python 3.13 or newer and no uv: set VGI_BASE_PYTHON, or run conformance/setup-python.sh" >&2
  exit 1
fi
"$dir/bin/python" -c 'import duckdb, pandas, polars, pyarrow, vgi_rpc'
echo "$want" >"$stamp"
