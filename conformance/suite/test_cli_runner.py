"""``vgi-rpc-test``, the reference's standalone runner, once per transport.

One process per transport runs the whole list; each of its tests is reported
here under its own name. Also the access log, validated by the runner.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import workerproc as wp

from vgi_rpc.conformance import list_conformance_tests

pytestmark = [pytest.mark.server_role, pytest.mark.timeout(600)]

RUNNER = [str(Path(sys.executable).parent / "vgi-rpc-test")]
HUGE = "large_payload.echo_binary_over_int32_max"
_MIB = str(1 << 20)
#: The response-cap tests need a capped worker: one without storage, one with.
CAPS = "http_response_cap."
EXTERNAL_CAPS = {CAPS + "producer_external_strict_fail", CAPS + "externalized_strict_fail"}


def selected(transport: str) -> list[str]:
    """The tests of the list that a run over *transport* must not skip."""
    names = list_conformance_tests(None)
    if transport == "http_capped":
        return [n for n in names if n.startswith(CAPS) and n not in EXTERNAL_CAPS]
    if transport == "http_capped_external":
        return [n for n in names if n in EXTERNAL_CAPS]
    drop = {HUGE} if transport == "http" or os.environ.get("VGI_SKIP_HUGE") == "1" else set()
    return [n for n in names if not n.startswith(CAPS) and n not in drop]


TRANSPORTS = ("pipe", "shm", "unix", "tcp", "http", "http_capped", "http_capped_external")
_reports: dict[str, dict[str, Any]] = {}
#: Shared by the xdist processes of one run, so that each list runs once.
_SHARED = Path(wp.RUN_DIR) / "vgi-cli-{}".format(os.environ.get("PYTEST_XDIST_TESTRUNUID", os.getpid()))
#: Shared by all runs of one user on this machine: the 2 GiB echo takes about
#: 14 GiB on both ends together, so there are never two at a time.
_HUGE_LOCK = Path(tempfile.gettempdir()) / f"vgi-huge-{os.getuid()}.lock"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield



@contextlib.contextmanager
def target(transport: str, storage: str, *flags: str) -> Iterator[list[str]]:
    """The runner's arguments that reach a fresh worker over *transport*."""
    if transport in ("pipe", "shm"):
        cmd = ["--cmd", shlex.join(wp.worker_argv(*flags))]
        yield cmd + (["--shm", "8388608"] if transport == "shm" else [])
    elif transport == "unix":
        with wp.unix(*flags, tag="c") as path:
            yield ["--unix", path]
    elif transport == "tcp":
        with wp.tcp(*flags) as (host, port):
            yield ["--tcp", f"{host}:{port}"]
    else:
        if transport.startswith("http_capped"):
            flags += ("--max-response-bytes", _MIB, "--max-externalized-response-bytes", _MIB)
        if transport == "http_capped_external":
            flags += ("--fake-storage", storage, "--max-request-bytes", str(64 << 20))
        with wp.http(*flags) as w:
            yield ["--url", f"http://127.0.0.1:{w.port}"]


def run(args: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUNNER, *args], capture_output=True, text=True, timeout=480)


def report(transport: str, storage: str) -> dict[str, Any]:
    if transport not in _reports:
        _SHARED.mkdir(exist_ok=True)
        done = _SHARED / f"{transport}.json"
        with locked(_SHARED / "lock"):
            if not done.exists():
                done.write_text(json.dumps(run_list(transport, storage)))
        _reports[transport] = json.loads(done.read_text())
    return _reports[transport]


def run_list(transport: str, storage: str) -> dict[str, Any]:
    """Every selected test's outcome; the huge one on a worker of its own, last."""
    names = selected(transport)
    outcome: dict[str, Any] = {}
    for part in ([n for n in names if n != HUGE], [n for n in names if n == HUGE]):
        if not part:
            continue
        alone = locked(_HUGE_LOCK) if HUGE in part else contextlib.nullcontext()
        with alone, target(transport, storage) as where:
            done = run([*where, "--format", "json", "--filter", ",".join(part)])
        try:
            outcome |= {r["name"]: r for r in json.loads(done.stdout)["results"]}
        except (ValueError, KeyError):
            lost = {"passed": False, "skipped": False, "error": f"runner exit {done.returncode}: {done.stderr[-2000:]}"}
            outcome |= {n: lost for n in part}
    return outcome


@pytest.mark.parametrize(("transport", "name"), [(t, n) for t in TRANSPORTS for n in selected(t)])
class TestRunner:
    def test(self, transport: str, name: str, conformance_fake_storage: str) -> None:
        got = report(transport, conformance_fake_storage)[name]
        if got["skipped"]:
            pytest.skip(str(got["skip_reason"]))
        if not got["passed"]:
            pytest.fail(str(got["error"]), pytrace=False)


@pytest.mark.parametrize("level", ["info", "debug"])
@pytest.mark.parametrize("transport", ["pipe", "unix", "tcp", "http"])
class TestAccessLog:
    def test_every_record_validates(
        self, transport: str, level: str, tmp_path: Path, conformance_fake_storage: str
    ) -> None:
        log = tmp_path / "access.jsonl"
        flags = ["--access-log", str(log), *(["--access-log-debug"] if level == "debug" else [])]
        with target(transport, conformance_fake_storage, *flags) as where:
            done = run([*where, "--format", "json", "--filter", f"!{HUGE}", "--access-log", str(log)])
        assert done.returncode == 0, done.stderr[-4000:]
        assert "--access-log: PASS" in done.stderr, done.stderr[-4000:]
