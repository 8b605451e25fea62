"""The targets of the canonical resource soak: one for each transport that the Python client speaks.

The worker is ``VGI_WORKER``, as for the suite beside this (../../suite), whose functions start it.
``VGI_SOAK_WARMUP`` and ``VGI_SOAK_THREADS`` mean what they mean there, and ``VGI_RPC_SOAK_SCALE``, 1 to 20,
is the scale of the soak. A test takes as long as its scale wants.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "suite"))

import workerproc as wp  # noqa: E402
from vgi_rpc.conformance import ConformanceService  # noqa: E402
from vgi_rpc.conformance._resource_soak_pytest import ResourceSoakLimits, ResourceSoakTarget  # noqa: E402

SECONDS_PER_SCALE = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    scale = int(os.environ.get("VGI_RPC_SOAK_SCALE", "1"))
    for item in items:
        item.add_marker(pytest.mark.timeout(SECONDS_PER_SCALE * (1 + scale)), append=False)


Connect = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def _http() -> Iterator[tuple[int, Connect]]:
    from vgi_rpc.http import http_connect

    with wp.http() as w:
        yield w.proc.pid, lambda: http_connect(ConformanceService, f"http://127.0.0.1:{w.port}")


@contextlib.contextmanager
def _tcp() -> Iterator[tuple[int, Connect]]:
    from vgi_rpc.rpc import tcp_connect

    with wp.start("--tcp", "127.0.0.1:0") as w:
        host, _, port = w.line.removeprefix("TCP:").rpartition(":")
        wp.await_tcp(host, int(port))
        yield w.proc.pid, lambda: tcp_connect(ConformanceService, host, int(port))


@contextlib.contextmanager
def _unix() -> Iterator[tuple[int, Connect]]:
    from vgi_rpc.rpc import unix_connect

    path = wp.short_socket_path("soak")
    with wp.start("--unix", path) as w:
        wp.await_unix(path)
        yield w.proc.pid, lambda: unix_connect(ConformanceService, path)


def _pipe(shm_size: int | None) -> Callable[[], contextlib.AbstractContextManager[tuple[int, Connect]]]:
    """A worker over its standard input and output has one connection, which is used again."""

    @contextlib.contextmanager
    def target() -> Iterator[tuple[int, Connect]]:
        from vgi_rpc.rpc import RpcConnection, ShmPipeTransport, SubprocessTransport
        from vgi_rpc.shm import ShmSegment

        pipe = SubprocessTransport(wp.worker_argv("--pipe"))
        with contextlib.ExitStack() as ends:
            ends.callback(pipe.close)
            transport: Any = pipe
            if shm_size is not None:
                segment = ShmSegment.create(shm_size)
                ends.callback(segment.unlink)
                ends.callback(segment.close)
                transport = ShmPipeTransport(pipe, segment)
            proxy = ends.enter_context(RpcConnection(ConformanceService, transport))
            yield pipe.proc.pid, lambda: contextlib.nullcontext(proxy)

    return target


TARGETS: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, Connect]]]] = {
    "pipe": _pipe(None),
    "shm": _pipe(4 << 20),
    "unix": _unix,
    "tcp": _tcp,
    "http": _http,
}


@pytest.fixture(params=list(TARGETS), autouse=True)
def transport(request: pytest.FixtureRequest) -> str:
    """The axis. It is in every test by itself: the suite asks for its target too late to be given one for each."""
    return request.param


@pytest.fixture
def conformance_resource_soak_target(transport: str) -> Iterator[ResourceSoakTarget]:
    with TARGETS[transport]() as (pid, connect):
        yield ResourceSoakTarget(
            name=f"worker-{transport}",
            pid=pid,
            connect=connect,
            limits=ResourceSoakLimits(thread_growth=int(os.environ.get("VGI_SOAK_THREADS", "4"))),
            warmup_multiplier=int(os.environ.get("VGI_SOAK_WARMUP", "1")),
        )
