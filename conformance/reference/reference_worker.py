"""The Python reference implementation behind CONTRACT.md's command line.

It proves the suite (every gate opens, every test passes) and is the server
that client-role runs are driven against.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import threading
from typing import Any, ClassVar, Protocol
from urllib.parse import urlparse

from vgi_rpc.conformance import ConformanceService, ConformanceServiceImpl
from vgi_rpc.conformance.secondary import Secondary, SecondaryImpl, conformance_extra_protocols
from vgi_rpc.rpc import CallContext, RpcServer, serve_stdio, serve_tcp, serve_unix


class TransportKindProbe(Protocol):
    protocol_name: ClassVar[str] = "conformance.TransportKindProbe.v1"

    def report_transport_kind(self) -> str: ...


class TransportKindProbeImpl:
    def report_transport_kind(self, ctx: CallContext) -> str:
        assert ctx.kind is not None
        return ctx.kind.value


class ZetaPrimary(Protocol):
    protocol_name: ClassVar[str] = "zeta.Primary.v1"

    def ping(self) -> str: ...


class AlphaExtra(Protocol):
    protocol_name: ClassVar[str] = "alpha.Extra.v1"

    def ping(self) -> str: ...


class Ping:
    def ping(self) -> str:
        return "pong"


class FailsFirstServeStart(ConformanceServiceImpl):
    _lock = threading.Lock()
    _failed = False

    def on_serve_start(self, kind: object) -> None:
        with self._lock:
            if not self._failed:
                self._failed = True
                raise RuntimeError("injected on_serve_start failure")


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(allow_abbrev=False)
    mode = p.add_mutually_exclusive_group()
    mode.add_argument("--pipe", action="store_true")
    mode.add_argument("--http", nargs="?", type=int, const=0)
    mode.add_argument("--http-auth", nargs="?", type=int, const=0)
    mode.add_argument("--http-proof", nargs="?", type=int, const=0)
    mode.add_argument("--unix", metavar="PATH")
    mode.add_argument("--tcp", metavar="[HOST:]PORT")
    for flag in ("--describe", "--threaded", "--access-log-debug", "--no-sticky", "--no-sticky-echo", "--sticky-auth",
                 "--no-compression", "--no-call-state-cache", "--fail-serve-start-once", "--reject-localhost-redirects",
                 "--proof-no-replay-cache", "--transport-kind-probe", "--hosted-reverse"):  # fmt: skip
        p.add_argument(flag, action="store_true")
    for flag in ("--port", "--max-connections", "--max-request-bytes", "--max-response-bytes", "--max-fetch-bytes",
                 "--max-externalized-response-bytes", "--max-decompressed-fetch-bytes"):  # fmt: skip
        p.add_argument(flag, type=int)
    for flag in ("--access-log", "--fake-storage", "--token-key", "--server-id", "--cors-origin"):
        p.add_argument(flag)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--prefix", default="")
    p.add_argument("--idle-timeout", type=float)
    p.add_argument("--sticky-ttl", type=float, default=300.0)
    p.add_argument("--externalize-threshold", type=int, default=4096)
    p.add_argument("--compression", choices=("none", "zstd"), default="none")
    p.add_argument("--identity", choices=("off", "both", "introspect-only", "grants"), default="off")
    p.add_argument("--proof-mode", choices=("off", "allow", "require"), default="require")
    p.add_argument("--proof-origin-id", default="conformance-origin")
    p.add_argument("--proof-secrets", default="")
    p.add_argument("--proof-skew", type=int, default=30)
    return p.parse_args()


def external(args: argparse.Namespace) -> Any:
    if not args.fake_storage:
        return None
    from vgi_rpc.conformance.fake_storage import FakeStorageBackend
    from vgi_rpc.external import Compression, ExternalLocationConfig, FetchConfig

    allowed = {"127.0.0.1"} if args.reject_localhost_redirects else {"127.0.0.1", "localhost", "::1"}

    def loopback_only(url: str) -> None:
        if urlparse(url).hostname not in allowed:
            raise ValueError("the conformance worker fetches loopback URLs only")

    fetch: dict[str, Any] = {}
    if args.max_fetch_bytes is not None:
        fetch["max_fetch_bytes"] = args.max_fetch_bytes
    if args.max_decompressed_fetch_bytes is not None:
        fetch["max_decompressed_bytes"] = args.max_decompressed_fetch_bytes
    return ExternalLocationConfig(
        storage=FakeStorageBackend(args.fake_storage),
        externalize_threshold_bytes=args.externalize_threshold,
        compression=Compression() if args.compression == "zstd" else None,
        fetch_config=FetchConfig(**fetch),
        url_validator=loopback_only,
    )


def build(args: argparse.Namespace, location: Any) -> RpcServer:
    more = {"server_id": args.server_id} if args.server_id else {}
    if args.transport_kind_probe:
        return RpcServer(TransportKindProbe, TransportKindProbeImpl(), enable_describe=True, **more)
    if args.hosted_reverse:
        rest = [(Secondary, SecondaryImpl()), (AlphaExtra, Ping())]
        return RpcServer(ZetaPrimary, Ping(), extra_protocols=rest, enable_describe=True, **more)
    extra = conformance_extra_protocols()
    identity = None
    if args.identity != "off":
        from vgi_rpc.conformance import identity_fixture as f
        from vgi_rpc.rpc._token_identity import IdentityImpl

        identity = IdentityImpl(
            resolve_token=f.conformance_resolve_token,
            mint_grant=f.conformance_mint_grant if args.identity == "both" else None,
            introspect_principals=[f.INTROSPECTOR_PRINCIPAL],
            max_auth_age=f.MAX_AUTH_AGE,
            grant_keys=f.conformance_grant_keys() if args.identity == "grants" else None,
        )
        if args.identity == "grants":
            extra.append((f.Whoami, f.WhoamiImpl()))
    impl = (FailsFirstServeStart if args.fail_serve_start_once else ConformanceServiceImpl)(
        external_storage=location.storage if location else None,
        external_compression=location.compression if location else None,
    )
    return RpcServer(
        ConformanceService, impl, enable_describe=True, external_location=location, identity=identity,
        extra_protocols=extra, **more,
    )  # fmt: skip


def by_header(req: Any) -> Any:
    """``X-Conformance-Principal`` and ``X-Conformance-Auth-Time`` name the caller."""
    from vgi_rpc.rpc import AuthContext

    principal = req.get_header("X-Conformance-Principal")
    if not principal:
        if req.get_header("Authorization"):
            raise ValueError("a bearer is for the identity authenticators")
        return AuthContext(domain=None, authenticated=False, principal=None)
    when = req.get_header("X-Conformance-Auth-Time")
    claims = {} if when is None else {"auth_time": when}
    return AuthContext(domain="conformance", authenticated=True, principal=principal, claims=claims)


def refuse(req: Any) -> Any:
    """Refuse every request, for the reason it names when that is one it may name."""
    from vgi_rpc.http import AuthFailure, AuthReason

    wanted = req.get_header("X-Conformance-Auth-Reason") or ""
    if wanted in ("missing_credential", "invalid_credential", "expired_credential", "insufficient_scope"):
        raise AuthFailure(AuthReason(wanted), wanted)
    raise ValueError("refused")


class Drain:
    """POST and DELETE /__test_drain__ set and clear the drain flag."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def on_post(self, req: Any, resp: Any) -> None:
        if self._handle is not None:
            self._handle.drain()
        resp.status = "204 No Content"

    def on_delete(self, req: Any, resp: Any) -> None:
        if self._handle is not None:
            self._handle.shutdown.__self__.set_draining(False)
        resp.status = "204 No Content"


def serve_http(args: argparse.Namespace, server: RpcServer, location: Any, port: int) -> None:
    import waitress

    from vgi_rpc.http import drain_handle, make_wsgi_app

    kw: dict[str, Any] = {"enable_sticky": not args.no_sticky}
    if not (args.no_sticky or args.no_sticky_echo):
        kw["sticky_echo_headers"] = {"x-vgi-conformance-echo": "conformance-fixed-marker"}
    if args.http_auth is not None:
        kw["authenticate"] = refuse
    elif args.http_proof is not None:
        if args.proof_mode != "off":
            from vgi_rpc.http import ProxyProofConfig, parse_secrets, proxy_proof_gate, require_all

            kw["authenticate"] = require_all(
                proxy_proof_gate(
                    ProxyProofConfig(
                        mode=args.proof_mode,
                        origin_id=args.proof_origin_id,
                        secrets=parse_secrets(args.proof_secrets),
                        skew_seconds=args.proof_skew,
                        enable_replay_cache=not args.proof_no_replay_cache,
                    )
                )
            )
        kw["proxy_proof_required"] = args.proof_mode == "require"
    elif args.sticky_auth or args.identity != "off":
        kw["authenticate"] = by_header
    cap = args.max_request_bytes
    if location is not None:
        kw |= {"upload_url_provider": location.storage, "max_upload_bytes": 64 << 20}
        cap = args.externalize_threshold if cap is None else cap
    app = make_wsgi_app(
        server,
        prefix=args.prefix,
        token_key=bytes.fromhex(args.token_key) if args.token_key else None,
        max_request_bytes=cap,
        max_response_bytes=args.max_response_bytes,
        max_externalized_response_bytes=args.max_externalized_response_bytes,
        compression_level=None if args.no_compression else 1,
        call_state_cache_entries=0 if args.no_call_state_cache else 4096,
        sticky_default_ttl=args.sticky_ttl,
        cors_origins=args.cors_origin,
        **kw,
    )
    app.add_route("/__test_drain__", Drain(drain_handle(app)))
    listener = socket.create_server((args.host, port))
    print(f"PORT:{listener.getsockname()[1]}", flush=True)
    waitress.serve(app, sockets=[listener], _quiet=True)


def main() -> None:
    args = arguments()
    location = external(args)
    server = build(args, location)
    if args.access_log:
        from vgi_rpc.rpc import _configure_access_log

        _configure_access_log(
            path=args.access_log, max_bytes=0, backup_count=0, when=None, max_record_bytes=1 << 20,
            server_id=server.server_id,
        )  # fmt: skip
        if args.access_log_debug:
            logging.getLogger("vgi_rpc.access").setLevel(logging.DEBUG)
    ports = [p for p in (args.http, args.http_auth, args.http_proof) if p is not None]
    if ports:
        serve_http(args, server, location, args.port or ports[0])
    elif args.unix:
        announce = lambda path: print(f"UNIX:{path}", flush=True)  # noqa: E731
        serve_unix(server, args.unix, threaded=True, idle_timeout=args.idle_timeout, on_bound=announce)
    elif args.tcp:
        host, _, port = args.tcp.rpartition(":")
        announce2 = lambda h, p: print(f"TCP:{h}:{p}", flush=True)  # noqa: E731
        serve_tcp(
            server, host or "127.0.0.1", int(port), threaded=True, idle_timeout=args.idle_timeout, on_bound=announce2
        )
    else:
        serve_stdio(server)


if __name__ == "__main__":
    sys.exit(main())
