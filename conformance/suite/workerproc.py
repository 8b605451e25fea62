"""Start, await and stop workers that follow ../CONTRACT.md.

The worker under test is a command line in ``VGI_WORKER`` (split like a shell
would). Every process started here is ended by its own pid.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

#: Everything a run writes is below it; the caller removes it.
RUN_DIR = os.environ.get("VGI_RUN_DIR", "/tmp")
WORKER: list[str] = shlex.split(os.environ.get("VGI_WORKER", ""))
START_TIMEOUT = float(os.environ.get("VGI_START_TIMEOUT", "30"))
STOP_TIMEOUT = float(os.environ.get("VGI_STOP_TIMEOUT", "10"))
#: 1: a worker that refuses a configuration (exit 2 before readiness) is a skip, not an error.
ALLOW_DECLINE = os.environ.get("VGI_ALLOW_DECLINE", "") == "1"
_USAGE_EXIT = 2


def worker_argv(*args: str) -> list[str]:
    if not WORKER:
        raise pytest.UsageError("VGI_WORKER is not set: name the conformance worker's command line (see CONTRACT.md)")
    return [*WORKER, *args]


class Started:
    """One running worker: its process, its announcement line, its stderr file."""

    def __init__(self, proc: subprocess.Popen[bytes], line: str) -> None:
        self.proc = proc
        self.line = line

    @property
    def port(self) -> int:
        assert self.line.startswith("PORT:"), f"expected PORT:<n> on stdout, got {self.line!r}"
        return int(self.line[5:])


def stop(proc: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL after the grace period. Reaps either way."""
    if proc.poll() is None:
        proc.terminate()
        try:
            proc.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            proc.kill()
    proc.wait()
    if proc.stdout is not None:
        proc.stdout.close()


@contextlib.contextmanager
def start(*args: str, env: dict[str, str] | None = None) -> Iterator[Started]:
    """Start a listening worker and wait for its one announcement line."""
    argv = worker_argv(*args)
    with tempfile.TemporaryFile() as err:
        proc = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            env={**os.environ, **env} if env else None,
        )
        lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=lambda: lines.put(proc.stdout.readline()), daemon=True).start()

        def tail() -> str:
            err.seek(0, os.SEEK_END)
            err.seek(max(0, err.tell() - 4000))
            return err.read().decode(errors="replace")

        try:
            try:
                raw = lines.get(timeout=START_TIMEOUT)
            except queue.Empty:
                pytest.fail(f"{shlex.join(argv)}: no announcement in {START_TIMEOUT}s; stderr: {tail()}", pytrace=False)
            line = raw.decode(errors="replace").strip()
            if not line:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    proc.wait(5)
                what = f"{shlex.join(argv)}: exited {proc.poll()} before announcing; stderr: {tail()}"
                if proc.poll() == _USAGE_EXIT and ALLOW_DECLINE:
                    pytest.skip("worker declines: " + what)
                pytest.fail(what, pytrace=False)
            yield Started(proc, line)
        finally:
            stop(proc)


def _poll(what: str, attempt, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            attempt()
            return
        except OSError as exc:
            if time.monotonic() > deadline:
                pytest.fail(f"{what} not reachable after {timeout}s: {exc}", pytrace=False)
            time.sleep(0.02)


def await_tcp(host: str, port: int) -> None:
    _poll(f"{host}:{port}", lambda: socket.create_connection((host, port), timeout=2).close())


def await_unix(path: str) -> None:
    def attempt() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(path)

    _poll(path, attempt)


def await_health(port: int, prefix: str = "") -> None:
    """``GET {prefix}/health`` must answer 200; any other answer is an error."""
    import httpx2

    def attempt() -> None:
        try:
            r = httpx2.get(f"http://127.0.0.1:{port}{prefix}/health", timeout=5.0)
        except httpx2.TransportError as exc:
            raise OSError(str(exc)) from exc
        if r.status_code != 200:
            raise OSError(f"GET {prefix}/health answered {r.status_code}")

    _poll(f"http://127.0.0.1:{port}{prefix}/health", attempt)


@contextlib.contextmanager
def http(*args: str, prefix: str = "", mode: str = "--http", health: bool = True) -> Iterator[Started]:
    """An HTTP worker, ready to serve. Without *health*, readiness is the TCP port alone."""
    with start(mode, *args, *(("--prefix", prefix) if prefix else ())) as w:
        if health:
            await_health(w.port, prefix)
        else:
            await_tcp("127.0.0.1", w.port)
        yield w


def short_socket_path(tag: str) -> str:
    """A fresh path well under the AF_UNIX length limit."""
    return os.path.join(tempfile.mkdtemp(prefix=f"vgi-{tag}-", dir=RUN_DIR), "s")


@contextlib.contextmanager
def unix(*args: str, tag: str = "u") -> Iterator[str]:
    path = short_socket_path(tag)
    try:
        with start("--unix", path, *args) as w:
            assert w.line == f"UNIX:{path}", f"expected UNIX:{path}, got {w.line!r}"
            await_unix(path)
            yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


@contextlib.contextmanager
def tcp(*args: str) -> Iterator[tuple[str, int]]:
    with start("--tcp", "127.0.0.1:0", *args) as w:
        assert w.line.startswith("TCP:"), f"expected TCP:<host>:<port>, got {w.line!r}"
        host, _, port = w.line[4:].rpartition(":")
        await_tcp(host, int(port))
        yield host, int(port)


def pids_with_argument(argument: str) -> list[int]:
    """Pids whose command line carries exactly *argument* (a path only we made)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as f:
                if argument.encode() in f.read().split(b"\0"):
                    found.append(int(entry))
    return found
