# Functions of the scripts that install what tests start; to be sourced. What is
# there already is left alone.

# wheels VENV PIN... makes a virtual environment with pinned packages, wheels alone
# unless PIP_ONLY_BINARY says otherwise.
wheels() {
  local venv=$1
  shift
  [ "$(cat "$venv/installed" 2>/dev/null)" != "$*" ] || return 0
  python3 -m venv "$venv"
  PIP_ONLY_BINARY=${PIP_ONLY_BINARY-:all:} "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$venv/installed"
}

# packages PROGRAM=PACKAGE... installs the system's packages of the programs that are
# missing, where we are root and there is an apt-get; elsewhere it names them and
# fails.
packages() (
  # Some live in sbin, which is not on every PATH.
  PATH=$PATH:/usr/sbin:/usr/local/sbin
  missing=()
  for p in "$@"; do
    command -v "${p%%=*}" >/dev/null || missing+=("${p#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || exit 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these by hand: ${missing[*]}" >&2
    exit 1
  fi
  # The packages would start their services: a policy says no while they install.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}"
)
