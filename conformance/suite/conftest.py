"""Fixtures that put the canonical vgi-rpc conformance suite in front of one worker binary.

Environment (../CONTRACT.md says what the commands must do):

``VGI_WORKER``          command line of the conformance worker under test (required)
``VGI_CLIENT_DRIVER``   command line of a client driver: the suite then runs in
                        client role, that client against ``VGI_WORKER`` (which
                        should be the Python reference worker)
``VGI_TRANSPORTS``      comma-separated subset of the transport axis
``VGI_ALLOW_DECLINE``   1: exit status 2 before readiness skips instead of failing
``VGI_TIMEOUT_SCALE``   factor on the suite's own per-test time limits (4)
``VGI_START_TIMEOUT``   seconds to wait for a worker's announcement (30)
``VGI_RUN_DIR``         directory for what a run writes (/tmp)
``VGI_SOAK_WARMUP``     warm-up multiplier of the resource soak (4)
``VGI_SOAK_THREADS``    thread growth the soak allows (4)
"""

from __future__ import annotations

import os
import sys

# Every eligible batch through the segment, on both ends. With the library's
# default of 128 KiB the whole shm axis would run over the pipe unnoticed.
os.environ["VGI_RPC_SHM_MIN_BATCH_BYTES"] = "1"
# What a worker written in Python (reference) runs with.
os.environ.setdefault("VGI_PYTHON", sys.executable)

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
import workerproc as wp

from vgi_rpc.conformance import ConformanceService
from vgi_rpc.conformance.client_driver import ClientDriver
from vgi_rpc.rpc import ShmPipeTransport, SubprocessTransport, TcpTransport, UnixTransport, _RpcProxy

CLIENT_ROLE = bool(os.environ.get("VGI_CLIENT_DRIVER"))

#: transport axis in server role: the reference's eight and shm.
SERVER_AXIS = (
    "pipe", "subprocess", "shm", "http", "http_externalize_always", "unix", "unix_threaded", "unix_launcher", "tcp",
)
#: and in client role, where only what the client dials can differ.
CLIENT_AXIS = ("pipe", "shm", "http", "http_externalize_always", "unix", "tcp")
RAW = {"pipe", "subprocess", "unix", "unix_threaded", "unix_launcher", "tcp"}

_chosen = {t for t in os.environ.get("VGI_TRANSPORTS", "").split(",") if t}
AXIS = [t for t in (CLIENT_AXIS if CLIENT_ROLE else SERVER_AXIS) if not _chosen or t in _chosen]
SHM_BYTES = 8 * 1024 * 1024

#: Groups that never touch the client under test (they write bytes or read
#: headers themselves, or measure the server process): server role only.
SERVER_ONLY = {
    "TestAdversarialHttpRequestContract", "TestAdversarialRawRequestContract", "TestCallTokenSplit",
    "TestCompressedHttpRequestCap", "TestCors", "TestCorsOffMode", "TestErrorHeader", "TestErrorModelOnTheWire",
    "TestExternalFetchFailures", "TestExternalFetchSecurity", "TestExternalStorageUrlPair", "TestHealth",
    "TestHttpCompressionNegotiationConformance", "TestProxyProof", "TestProxyProofOffMode", "TestRequestId",
    "TestResourceSoak", "TestServeStartLifecycle", "TestTransportKindContext", "TestUnauthorized",
    "TestUnclassifiedErrorsAreUnknown", "TestErrorKindsReachTheWire", "TestGrantFreshness", "TestGrantIssuance",
    "TestIdentityAbsentByDefault", "TestIdentityNarrowing", "TestIdentityWireShape", "TestIntrospectionAuthorization",
    "TestIntrospectionHappyPath", "TestIntrospectionIsNotThrottled", "TestRejectionsAreUniform",
    "TestTheCredentialSizeCap", "TestTheJwsTrap", "TestUnavailableCarriesARetryHint", "TestUnavailableIsTransient",
    "TestGrantPrefixRouting", "TestResolveTokenBearer", "TestSealedGrantRejections", "TestSealedGrants",
}  # fmt: skip

_driver: ClientDriver | None = None
if CLIENT_ROLE:
    _driver = ClientDriver.from_env()
    _driver.install_http_overrides()


#: The suite's limits (5 s for most tests) are for an idle machine.
TIMEOUT_SCALE = float(os.environ.get("VGI_TIMEOUT_SCALE", "4"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        limit = item.get_closest_marker("timeout")
        if limit is not None and limit.args and TIMEOUT_SCALE != 1:
            item.add_marker(pytest.mark.timeout(limit.args[0] * TIMEOUT_SCALE), append=False)
    if not CLIENT_ROLE:
        return
    keep, drop = [], []
    for item in items:
        cls = getattr(item, "cls", None)
        server_only = (cls is not None and cls.__name__ in SERVER_ONLY) or item.get_closest_marker("server_role")
        (drop if server_only else keep).append(item)
    if drop:
        config.hook.pytest_deselected(items=drop)
        items[:] = keep


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "server_role: exercises the worker only; left out in client role")


def _from(manager: contextlib.AbstractContextManager[wp.Started]) -> Iterator[int]:
    with manager as worker:
        yield worker.port


# --------------------------------------------------------------------------
# HTTP workers, one fixture per configuration the suite asks for
# --------------------------------------------------------------------------

TOKEN_KEY = "a7" * 32


@pytest.fixture(scope="session")
def conformance_http_port() -> Iterator[int]:
    yield from _from(wp.http())


@pytest.fixture(scope="class")
def conformance_http_no_compression_port() -> Iterator[int]:
    yield from _from(wp.http("--no-compression"))


@pytest.fixture(scope="class")
def conformance_http_small_request_cap_port() -> Iterator[int]:
    yield from _from(wp.http("--max-request-bytes", "4096"))


@pytest.fixture(scope="class")
def conformance_http_serve_start_fail_once_port() -> Iterator[int]:
    # No health probe: it would consume the injected failure.
    yield from _from(wp.http("--fail-serve-start-once", health=False))


@pytest.fixture(scope="class")
def conformance_http_auth_port() -> Iterator[int]:
    yield from _from(wp.http(mode="--http-auth"))


@pytest.fixture(scope="class")
def conformance_http_auth_reason_port(conformance_http_auth_port: int) -> int:
    return conformance_http_auth_port


@pytest.fixture(scope="class")
def conformance_http_cold_call_cache_port() -> Iterator[int]:
    yield from _from(wp.http("--no-call-state-cache"))


@pytest.fixture(scope="class")
def conformance_http_strict_cap_port() -> Iterator[int]:
    mib = str(1 << 20)
    yield from _from(wp.http("--max-response-bytes", mib, "--max-externalized-response-bytes", mib))


@pytest.fixture(scope="class")
def conformance_http_access_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    path = tmp_path_factory.mktemp("access") / "access.jsonl"
    with wp.http("--access-log", str(path)) as w:
        yield w.port, path


@pytest.fixture(scope="class")
def conformance_http_sticky_short_ttl_port() -> Iterator[int]:
    yield from _from(wp.http("--sticky-ttl", "1"))


@pytest.fixture(scope="class")
def conformance_http_sticky_peer_ports() -> Iterator[tuple[int, int]]:
    # One key for both, so the refusal can only come from the server id, which
    # every worker process must make unique without being told to.
    with wp.http("--token-key", TOKEN_KEY) as a, wp.http("--token-key", TOKEN_KEY) as b:
        yield a.port, b.port


@pytest.fixture(scope="class")
def conformance_http_sticky_auth_port() -> Iterator[int]:
    yield from _from(wp.http("--sticky-auth"))


@pytest.fixture(scope="session")
def conformance_http_identity_port() -> Iterator[int]:
    yield from _from(wp.http("--identity", "both"))


@pytest.fixture(scope="session")
def conformance_http_identity_introspect_only_port() -> Iterator[int]:
    yield from _from(wp.http("--identity", "introspect-only"))


@pytest.fixture(scope="session")
def conformance_http_grant_port() -> Iterator[int]:
    yield from _from(wp.http("--identity", "grants"))


@pytest.fixture(scope="session")
def proof_worker_factory() -> Callable[..., Any]:
    from vgi_rpc.conformance.proof_harness import ProofWorker, ProofWorkerConfig

    @contextlib.contextmanager
    def spawn(config: ProofWorkerConfig) -> Iterator[ProofWorker]:
        args = [
            "--proof-mode", config.mode,
            "--proof-origin-id", config.origin_id,
            "--proof-secrets", config.secrets,
            "--proof-skew", str(config.skew_seconds),
        ]  # fmt: skip
        if not config.replay_cache:
            args.append("--proof-no-replay-cache")
        with wp.http(*args, mode="--http-proof", prefix="/vgi") as w:
            yield ProofWorker(port=w.port, prefix="/vgi", config=config)

    return spawn


@pytest.fixture
def conformance_resource_soak_target() -> Iterator[Any]:
    from vgi_rpc.conformance._resource_soak_pytest import ResourceSoakLimits, ResourceSoakTarget
    from vgi_rpc.http import http_connect

    with wp.http("--no-sticky", "--no-compression") as w:
        yield ResourceSoakTarget(
            name="worker-http",
            pid=w.proc.pid,
            connect=lambda: http_connect(ConformanceService, f"http://127.0.0.1:{w.port}"),
            limits=ResourceSoakLimits(thread_growth=int(os.environ.get("VGI_SOAK_THREADS", "4"))),
            warmup_multiplier=int(os.environ.get("VGI_SOAK_WARMUP", "4")),
        )


# --------------------------------------------------------------------------
# External storage
# --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def conformance_fake_storage() -> Iterator[str]:
    from vgi_rpc.conformance.fake_storage import serve_in_thread

    url, shutdown = serve_in_thread()
    try:
        yield url
    finally:
        shutdown()


@pytest.fixture(scope="class")
def conformance_http_with_storage_port(conformance_fake_storage: str) -> Iterator[int]:
    yield from _from(wp.http("--fake-storage", conformance_fake_storage))


@pytest.fixture(scope="class")
def conformance_http_with_zstd_storage_port(conformance_fake_storage: str) -> Iterator[int]:
    yield from _from(wp.http("--fake-storage", conformance_fake_storage, "--compression", "zstd"))


@pytest.fixture(scope="class")
def conformance_http_cors_port(conformance_fake_storage: str) -> Iterator[int]:
    yield from _from(wp.http("--cors-origin", "https://conformance.example", "--fake-storage", conformance_fake_storage))


@pytest.fixture(scope="class")
def conformance_http_external_security_port(conformance_fake_storage: str) -> Iterator[int]:
    yield from _from(
        wp.http(
            "--fake-storage", conformance_fake_storage,
            "--max-request-bytes", "1048576",
            "--max-fetch-bytes", "4096",
            "--max-decompressed-fetch-bytes", "8192",
            "--reject-localhost-redirects",
        )
    )  # fmt: skip


@pytest.fixture(scope="class")
def conformance_http_externalized_cap_port(conformance_fake_storage: str) -> Iterator[int]:
    # The external cap must be the one that bites: the body cap stays generous.
    yield from _from(
        wp.http(
            "--fake-storage", conformance_fake_storage,
            "--max-externalized-response-bytes", str(64 << 10),
            "--max-response-bytes", str(8 << 20),
            "--max-request-bytes", str(1 << 20),
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def conformance_http_externalize_always_port(conformance_fake_storage: str) -> Iterator[int]:
    yield from _from(
        wp.http(
            "--fake-storage", conformance_fake_storage,
            "--externalize-threshold", "1",
            "--max-request-bytes", str(1 << 20),
        )
    )  # fmt: skip


def stored_objects(base_url: str) -> int:
    import httpx2

    return int(httpx2.get(f"{base_url}/_stats", timeout=5.0).raise_for_status().json()["object_count"])


@contextlib.contextmanager
def bytestream_external_target(transport: str, storage: str) -> Iterator[Any]:
    """A byte-stream connection on which both ends externalize every batch."""
    from vgi_rpc.conformance._external_bytestream_pytest import ByteStreamExternalTarget
    from vgi_rpc.external import ExternalLocationConfig
    from vgi_rpc.rpc import tcp_connect, unix_connect

    config = ExternalLocationConfig(url_validator=None)
    flags = ("--fake-storage", storage, "--externalize-threshold", "1")
    with contextlib.ExitStack() as stack:
        stack.callback(config.fetch_config.close)
        if transport == "pipe":
            argv = wp.worker_argv("--pipe", *flags)

            @contextlib.contextmanager
            def connect(on_log: Any = None) -> Iterator[Any]:
                if _driver is not None:
                    proxy = _driver.connect("stdio", argv, on_log, external_config=config)
                    try:
                        yield proxy
                    finally:
                        proxy.close()
                    return
                pipe = SubprocessTransport(argv)
                try:
                    yield _RpcProxy(ConformanceService, pipe, on_log, external_config=config)
                finally:
                    pipe.close()

        else:
            target = stack.enter_context(wp.unix(*flags, tag="x") if transport == "unix" else wp.tcp(*flags))

            @contextlib.contextmanager
            def connect(on_log: Any = None) -> Iterator[Any]:
                if _driver is not None:
                    dial = target if transport == "unix" else f"{target[0]}:{target[1]}"
                    proxy = _driver.connect(transport, dial, on_log, external_config=config)
                    try:
                        yield proxy
                    finally:
                        proxy.close()
                elif transport == "unix":
                    with unix_connect(ConformanceService, target, on_log=on_log, external_location=config) as p:
                        yield p
                else:
                    with tcp_connect(ConformanceService, *target, on_log=on_log, external_location=config) as p:
                        yield p

        yield ByteStreamExternalTarget(
            name=f"worker-{transport}", connect=connect, uploaded_objects=lambda: stored_objects(storage)
        )


@pytest.fixture(scope="session")
def conformance_bytestream_external_target(conformance_fake_storage: str) -> Iterator[Any]:
    with bytestream_external_target("pipe", conformance_fake_storage) as target:
        yield target


# --------------------------------------------------------------------------
# The transport axis
# --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_subprocess() -> Iterator[SubprocessTransport]:
    transport = SubprocessTransport(wp.worker_argv())
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def unix_path() -> Iterator[str]:
    with wp.unix() as path:
        yield path


@pytest.fixture(scope="session")
def unix_threaded_path() -> Iterator[str]:
    with wp.unix("--threaded", tag="t") as path:
        yield path


@pytest.fixture(scope="session")
def unix_launcher_path() -> Iterator[str]:
    """The same worker, brought up by ``vgi_rpc.launcher`` (``--unix PATH --idle-timeout S``)."""
    from vgi_rpc.launcher import LaunchConfig, launch

    state = tempfile.mkdtemp(prefix="vgi-l-", dir=wp.RUN_DIR)
    path = launch(
        LaunchConfig(
            worker_argv=tuple(wp.worker_argv()),
            idle_timeout=300.0,
            connect_timeout=wp.START_TIMEOUT,
            worker_startup_timeout=wp.START_TIMEOUT,
            state_dir=state,
        )
    )
    wp.await_unix(path)
    try:
        yield path
    finally:
        # The launcher detaches its worker; ours is the one serving this path.
        for pid in wp.pids_with_argument(path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def tcp_addr() -> Iterator[tuple[str, int]]:
    with wp.tcp() as addr:
        yield addr


_UNIX = {"unix": "unix_path", "unix_threaded": "unix_threaded_path", "unix_launcher": "unix_launcher_path"}


class Dialer:
    """Reaches the worker over one transport, with the client under test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._get = request.getfixturevalue

    def http_port(self, transport: str) -> int:
        name = "conformance_http_port" if transport == "http" else "conformance_http_externalize_always_port"
        return self._get(name)

    @contextlib.contextmanager
    def connect(self, transport: str, protocol: type, on_log: Any = None) -> Iterator[Any]:
        with self._driven(transport, protocol, on_log) if _driver else self._python(transport, protocol, on_log) as p:
            yield p

    @contextlib.contextmanager
    def _driven(self, transport: str, protocol: type, on_log: Any) -> Iterator[Any]:
        from vgi_rpc.external import ExternalLocationConfig

        assert _driver is not None
        external = None
        if transport in ("pipe", "shm"):
            kind, target = ("stdio" if transport == "pipe" else "shm"), wp.worker_argv()
        elif transport in _UNIX:
            kind, target = "unix", self._get(_UNIX[transport])
        elif transport == "tcp":
            kind, target = "tcp", "{}:{}".format(*self._get("tcp_addr"))
        else:
            kind, target = "http", f"http://127.0.0.1:{self.http_port(transport)}"
            if transport == "http_externalize_always":
                external = ExternalLocationConfig(url_validator=None)
        proxy = ClientDriver(_driver.command, service=protocol).connect(
            kind, target, on_log, external_config=external, shm_size=SHM_BYTES if kind == "shm" else None
        )
        try:
            yield proxy
        finally:
            proxy.close()

    @contextlib.contextmanager
    def _python(self, transport: str, protocol: type, on_log: Any) -> Iterator[Any]:
        from vgi_rpc.external import ExternalLocationConfig
        from vgi_rpc.http import http_connect
        from vgi_rpc.rpc import tcp_connect, unix_connect
        from vgi_rpc.shm import ShmSegment

        if transport == "subprocess":
            yield _RpcProxy(protocol, self._get("shared_subprocess"), on_log)
        elif transport in ("pipe", "shm"):
            pipe = SubprocessTransport(wp.worker_argv())
            segment = ShmSegment.create(SHM_BYTES) if transport == "shm" else None
            try:
                yield _RpcProxy(protocol, ShmPipeTransport(pipe, segment) if segment else pipe, on_log)
            finally:
                pipe.close()
                if segment is not None:
                    with contextlib.suppress(BufferError):
                        segment.close()
                    segment.unlink()
        elif transport in _UNIX:
            with unix_connect(protocol, self._get(_UNIX[transport]), on_log=on_log) as p:
                yield p
        elif transport == "tcp":
            with tcp_connect(protocol, *self._get("tcp_addr"), on_log=on_log) as p:
                yield p
        elif transport == "http":
            with http_connect(protocol, f"http://127.0.0.1:{self.http_port(transport)}", on_log=on_log) as p:
                yield p
        elif transport == "http_externalize_always":
            config = ExternalLocationConfig(url_validator=None)
            try:
                url = f"http://127.0.0.1:{self.http_port(transport)}"
                with http_connect(protocol, url, on_log=on_log, external_location=config) as p:
                    yield p
            finally:
                config.fetch_config.close()
        else:
            raise ValueError(f"no transport named {transport!r}")

    def describe(self, transport: str) -> Any:
        """Introspect the worker over *transport*, with the client under test."""
        from vgi_rpc.external import ExternalLocationConfig
        from vgi_rpc.http import http_introspect
        from vgi_rpc.introspect import introspect

        if _driver is not None:
            with self._driven(transport, ConformanceService, None) as proxy:
                return proxy.describe()
        if transport.startswith("http"):
            config = ExternalLocationConfig(url_validator=None) if transport != "http" else None
            try:
                return http_introspect(base_url=f"http://127.0.0.1:{self.http_port(transport)}", external_location=config)
            finally:
                if config is not None:
                    config.fetch_config.close()
        if transport == "subprocess":
            return introspect(self._get("shared_subprocess"))
        if transport in ("pipe", "shm"):
            raw: Any = SubprocessTransport(wp.worker_argv())
        elif transport == "tcp":
            raw = TcpTransport(socket.create_connection(self._get("tcp_addr")))
        else:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(self._get(_UNIX[transport]))
            raw = UnixTransport(s)
        try:
            return introspect(raw)
        finally:
            raw.close()


@pytest.fixture(params=AXIS)
def conformance_conn(request: pytest.FixtureRequest) -> Callable[..., Any]:
    dialer = Dialer(request)
    return lambda on_log=None: dialer.connect(request.param, ConformanceService, on_log)


@pytest.fixture(params=[t for t in AXIS if t in RAW] or ["pipe"])
def conformance_raw_conn(request: pytest.FixtureRequest) -> Callable[..., Any]:
    dialer = Dialer(request)
    return lambda on_log=None: dialer.connect(request.param, ConformanceService, on_log)


@pytest.fixture(params=AXIS)
def conformance_describe(request: pytest.FixtureRequest) -> Any:
    return Dialer(request).describe(request.param)


@pytest.fixture(scope="session")
def conformance_protocol_connector(request: pytest.FixtureRequest) -> Callable[..., Any]:
    dialer = Dialer(request)
    return lambda transport, protocol, on_log=None: dialer.connect(transport, protocol, on_log)


# --------------------------------------------------------------------------
# Transport kind
# --------------------------------------------------------------------------


class TransportKindProbe(Protocol):
    """Hosted alone by ``--transport-kind-probe`` (CONTRACT.md)."""

    protocol_name: ClassVar[str] = "conformance.TransportKindProbe.v1"

    def report_transport_kind(self) -> str: ...


@pytest.fixture(scope="session")
def conformance_transport_kind_probes() -> tuple[tuple[str, Callable[[], str]], ...]:
    from vgi_rpc.http import http_connect
    from vgi_rpc.rpc import connect, tcp_connect, unix_connect

    flag = "--transport-kind-probe"

    def pipe() -> str:
        with connect(TransportKindProbe, wp.worker_argv("--pipe", flag)) as p:
            return p.report_transport_kind()

    def http() -> str:
        with wp.http(flag) as w, http_connect(TransportKindProbe, f"http://127.0.0.1:{w.port}") as p:
            return p.report_transport_kind()

    def unix() -> str:
        with wp.unix(flag, tag="k") as path, unix_connect(TransportKindProbe, path) as p:
            return p.report_transport_kind()

    def tcp() -> str:
        with wp.tcp(flag) as addr, tcp_connect(TransportKindProbe, *addr) as p:
            return p.report_transport_kind()

    return (("pipe", pipe), ("http", http), ("unix", unix), ("tcp", tcp))
