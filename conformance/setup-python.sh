#!/bin/bash
# Makes the Python environment of the conformance suite in DIR.
#
#   conformance/setup-python.sh [DIR]      (default: .cache/python)
#
# DIR/python is then the interpreter. Python 3.13 or newer is taken from
# $VGI_BASE_PYTHON, the PATH, pyenv or uv, in this order; where there is none, on
# Debian and as root, debootstrap makes a small trixie system in DIR/root
# ($VGI_MIRROR names a mirror) and DIR/python enters it. VGI_FORCE_CHROOT=1 does so
# even where there is one. In there DIR/python sees /tmp, this repository and the
# directories that $VGI_CHROOT_BINDS names when it is run. What gets installed is
# pinned in requirements.lock. On a finished DIR the script changes nothing.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")
lock=$here/requirements.lock
mkdir -p "${1:-$top/.cache/python}"
dir=$(readlink -f "${1:-$top/.cache/python}")
stamp=$dir/installed
want=$(sha256sum <"$lock")

# One maker at a time; a second one finds the work done.
exec 9>"$dir/lock"
flock 9

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && "$dir/python" -c '' 2>/dev/null; then exit 0; fi
rm -f "$stamp"

new_enough() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; }

find_python() {
  local p
  for p in ${VGI_BASE_PYTHON:-} python3.13 python3.14 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[3-9].*/bin/python3; do
    p=$(command -v "$p" || true)
    if [ -n "$p" ] && new_enough "$p"; then
      echo "$p"
      return
    fi
  done
  return 1
}

launcher() { printf '#!/bin/sh\nexec "%s" "$@"\n' "$1" >"$dir/python"; }

with_venv() {
  "$1" -m venv --clear "$dir/venv"
  "$dir/venv/bin/python" -m pip install -q --disable-pip-version-check -r "$lock"
  launcher "$dir/venv/bin/python"
}

with_uv() {
  uv pip install -q --python "$dir/venv/bin/python" -r "$lock"
  launcher "$dir/venv/bin/python"
}

# The script that runs a command in DIR/root. It mounts what the suite needs in
# a mount namespace of its own: nothing stays mounted when the command ends, and
# removing DIR can never reach through a mount.
write_enter() {
  cat >"$dir/enter" <<SH
#!/bin/bash
set -eu
root="$dir/root"
if [ "\${1:-}" != --inside ]; then exec unshare --mount "\$0" --inside "\$PWD" "\$@"; fi
shift
mount -t proc proc "\$root/proc"
mount --rbind /dev "\$root/dev"
for d in /tmp "$top" \${VGI_CHROOT_BINDS:-}; do
  mkdir -p "\$root\$d"
  mount --bind "\$d" "\$root\$d"
done
exec chroot "\$root" /bin/sh -c 'cd "\$0" 2>/dev/null || cd /; exec "\$@"' "\$@"
SH
  chmod +x "$dir/enter"
}

# No new enough Python on this machine: a minimal trixie beside it.
with_trixie() {
  local root=$dir/root f
  [ "$(id -u)" = 0 ] || {
    echo "no Python 3.13 or newer and no uv; as root this script would use debootstrap" >&2
    return 1
  }
  command -v debootstrap >/dev/null || { apt-get -qq update && apt-get -qq install -y debootstrap; }
  if [ ! -f "$root/bootstrapped" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3.13,python3.13-venv,ca-certificates trixie \
      "$root" ${VGI_MIRROR:-} >"$dir/debootstrap.log" 2>&1 || { tail -5 "$dir/debootstrap.log" >&2; return 1; }
    touch "$root/bootstrapped"
  fi
  # Name resolution, certificates and pip's configuration are this machine's.
  cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
  for f in /etc/pip.conf "${PIP_CONFIG_FILE:-}" "${SSL_CERT_FILE:-}" "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}"; do
    if [ -n "$f" ] && [ -f "$f" ]; then mkdir -p "$root$(dirname "$f")" && cp -L "$f" "$root$f"; fi
  done
  cp "$lock" "$root/opt/requirements.lock"
  write_enter
  "$dir/enter" /usr/bin/python3.13 -m venv /opt/venv
  # Wheels of this machine's Python are not in there.
  env -u PIP_FIND_LINKS "$dir/enter" /opt/venv/bin/python -m pip install -q --disable-pip-version-check \
    -r /opt/requirements.lock
  printf '#!/bin/sh\nexec "%s/enter" /opt/venv/bin/python "$@"\n' "$dir" >"$dir/python"
}

if [ "${VGI_FORCE_CHROOT:-}" = 1 ]; then
  with_trixie
elif base=$(find_python); then
  with_venv "$base"
elif command -v uv >/dev/null && uv venv -q --clear --python 3.13 "$dir/venv"; then
  with_uv
else
  with_trixie
fi
chmod +x "$dir/python"
"$dir/python" - <<'PY'
import sys
from importlib.metadata import version
import vgi_rpc.conformance._pytest_suite, vgi_rpc.http, pytest, pytest_timeout, xdist
print("ready: Python", sys.version.split()[0], "vgi-rpc", version("vgi-rpc"), file=sys.stderr)
PY
echo "$want" >"$stamp"
