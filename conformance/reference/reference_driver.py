"""A client driver over the Python client: proves the suite's client role.

It speaks tools/cross-port/specs/CLIENT_DRIVER_PROTOCOL.md. The Python client
takes values, not batches, so its request writer and its two result readers are
replaced here by ones that relay what the control channel carried.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
from typing import Any

import pyarrow as pa
from pyarrow import ipc

import vgi_rpc.http._client as http_client
import vgi_rpc.rpc._client as raw_client
from vgi_rpc.metadata import SHM_SEGMENT_NAME_KEY, SHM_SEGMENT_SIZE_KEY
from vgi_rpc.rpc import AnnotatedBatch, MethodType, RpcError, SubprocessTransport
from vgi_rpc.rpc._types import RpcMethodInfo
from vgi_rpc.rpc._wire import _drain_stream, _read_batch_with_log_check, _read_header_batch

relayed: tuple[pa.RecordBatch, dict[bytes, bytes]] | None = None


def decode(text: str) -> tuple[pa.RecordBatch, dict[bytes, bytes]]:
    reader = ipc.open_stream(io.BytesIO(base64.b64decode(text)))
    batch, custom = reader.read_next_batch_with_custom_metadata()
    return batch, dict(custom.to_dict()) if custom is not None else {}


def encode(batch: pa.RecordBatch, custom: Any) -> str:
    out = io.BytesIO()
    with ipc.new_stream(out, batch.schema) as w:
        w.write_batch(batch, custom_metadata=custom) if custom else w.write_batch(batch)
    return base64.b64encode(out.getvalue()).decode()


def schema(s: pa.Schema | None) -> str | None:
    return None if s is None else encode(pa.RecordBatch.from_pylist([], schema=s), None)


for module in (raw_client, http_client):
    originals = (module._send_request, module._read_unary_response, module._read_stream_header)

    def send(writer: Any, info: Any, kwargs: Any, *, shm: Any = None, _was: Any = originals[0], **kw: Any) -> None:
        if relayed is None:
            return _was(writer, info, kwargs, shm=shm, **kw)
        batch, custom = relayed
        if shm is not None:
            custom = custom | {SHM_SEGMENT_NAME_KEY: shm.name.encode(), SHM_SEGMENT_SIZE_KEY: str(shm.size).encode()}
        with ipc.new_stream(writer, batch.schema) as w:
            w.write_batch(batch, custom_metadata=pa.KeyValueMetadata(custom))
        return None

    def unary(reader: Any, info: Any, on_log: Any, ext: Any = None, *, shm: Any = None, _was: Any = originals[1]) -> Any:
        if relayed is None:
            return _was(reader, info, on_log, ext, shm=shm)
        try:
            got = _read_batch_with_log_check(reader, on_log, ext, shm=shm)
        except StopIteration:
            raise RpcError("ProtocolError", "no result batch", "") from None
        except RpcError:
            _drain_stream(reader)
            raise
        _drain_stream(reader)
        text = encode(got.batch, got.custom_metadata)
        got.release()
        return text

    def header(source: Any, kind: Any, level: Any, on_log: Any = None, ext: Any = None, _was: Any = originals[2]) -> Any:
        if relayed is None:
            return _was(source, kind, level, on_log, ext)
        return encode(*_read_header_batch(source, level, on_log, ext))

    module._send_request, module._read_unary_response, module._read_stream_header = send, unary, header


def problem(exc: RpcError) -> dict[str, Any]:
    return {
        "error_type": exc.error_type,
        "error_message": exc.error_message,
        "traceback": exc.remote_traceback or "",
        "error_code": exc.error_code,
        "error_kind": exc.error_kind,
        "error_details": exc.error_details,
    }


def close_quietly(segment: Any) -> None:
    with contextlib.suppress(BufferError):
        segment.close()


class Driver:
    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.logs: list[dict[str, Any]] = []
        self.stream: Any = None
        self.sessions: list[tuple[Any, Any]] = []

    def log(self, m: Any) -> None:
        extra = {k: v for k, v in (m.extra or {}).items() if isinstance(v, str)}
        self.logs.append({"level": m.level.name, "message": m.message, "extra": extra})

    def call(self, action: Any) -> dict[str, Any]:
        try:
            answer = action()
        except RpcError as exc:
            answer = {"error": problem(exc), "done": True, "batch_b64": None}
        logs, self.logs = self.logs, []
        return {"ok": True, "logs": logs, "error": None, **answer}

    def info(self, q: dict[str, Any], kind: MethodType) -> RpcMethodInfo:
        global relayed
        relayed = decode(q["request_b64"])
        batch, custom = relayed
        return RpcMethodInfo(
            name=custom[b"vgi_rpc.method"].decode(),
            params_schema=batch.schema,
            result_schema=pa.schema([]),
            result_type=object,
            method_type=kind,
            has_return=True,
            doc=None,
            param_defaults={},
            param_types={},
            param_docs={},
            header_type=AnnotatedBatch if q.get("has_header") else None,  # type: ignore[arg-type]
            is_exchange=q.get("is_exchange"),
            protocol_name=self.protocol,
        )

    def connect(self, q: dict[str, Any]) -> dict[str, Any]:
        from vgi_rpc.external import ExternalLocationConfig
        from vgi_rpc.http import http_connect
        from vgi_rpc.rpc import ShmPipeTransport, _RpcProxy, tcp_connect, unix_connect
        from vgi_rpc.shm import ShmSegment

        self.protocol, kind, target = q["protocol"], q["transport"], q["target"]
        service = type("Service", (), {"protocol_name": self.protocol})
        ext = ExternalLocationConfig(url_validator=None) if q.get("external") else None
        if ext is not None:
            self.stack.callback(ext.fetch_config.close)
        self.target, self.headers, self.http = target, q.get("headers") or {}, kind == "http"
        if kind in ("stdio", "shm"):
            transport: Any = SubprocessTransport(target)
            self.stack.callback(transport.close)
            if kind == "shm":
                segment = ShmSegment.create(q["shm_size"])
                self.stack.callback(segment.unlink)
                self.stack.callback(lambda: close_quietly(segment))
                transport = ShmPipeTransport(transport, segment)
            self.proxy = _RpcProxy(service, transport, self.log, external_config=ext)
        elif kind == "unix":
            self.proxy = self.stack.enter_context(unix_connect(service, target, on_log=self.log, external_location=ext))
        elif kind == "tcp":
            host, _, port = target.rpartition(":")
            dial = tcp_connect(service, host or "127.0.0.1", int(port), on_log=self.log, external_location=ext)
            self.proxy = self.stack.enter_context(dial)
        else:
            import httpx2

            client = self.stack.enter_context(httpx2.Client(base_url=target, headers=self.headers, follow_redirects=True))
            level = q["compression_level"] if "compression_level" in q else 1
            self.proxy = self.stack.enter_context(
                http_connect(
                    service, client=client, on_log=self.log, external_location=ext, compression_level=level
                )
            )  # fmt: skip
        return {"ok": True}

    def top(self) -> Any:
        """The proxy calls go through: the innermost session's, if any."""
        return self.sessions[-1][1]._proxy if self.sessions else self.proxy

    def unary(self, q: dict[str, Any]) -> dict[str, Any]:
        info = self.info(q, MethodType.UNARY)
        return self.call(lambda: {"result_b64": self.top()._make_unary_caller(info)()})

    def stream_open(self, q: dict[str, Any]) -> dict[str, Any]:
        info = self.info(q, MethodType.STREAM)

        def action() -> dict[str, Any]:
            self.stream = self.top()._make_stream_caller(info)()
            return {"header_b64": self.stream.header if q.get("has_header") else None}

        return self.call(action)

    def item(self, pull: Any) -> dict[str, Any]:
        def action() -> dict[str, Any]:
            try:
                got = pull()
            except StopIteration:
                return {"done": True, "batch_b64": None}
            token = None
            if isinstance(got, tuple):
                got, token = got
                token = token.decode() if isinstance(token, bytes) else token
                if got is None:
                    return {"done": True, "batch_b64": None}
            text = encode(got.batch, got.custom_metadata)
            got.release()
            return {"done": False, "batch_b64": text, "token": token}

        return self.call(action)

    def tick(self, q: dict[str, Any]) -> dict[str, Any]:
        custom = pa.KeyValueMetadata(decode(q["input_b64"])[1]) if q.get("input_b64") else None
        return self.item(lambda: self.stream.tick(custom))

    def next_with_token(self, q: dict[str, Any]) -> dict[str, Any]:
        return self.item(self.stream.next_with_token)

    def exchange(self, q: dict[str, Any]) -> dict[str, Any]:
        batch, custom = decode(q["input_b64"])
        given = AnnotatedBatch(batch=batch, custom_metadata=pa.KeyValueMetadata(custom) if custom else None)
        return self.item(lambda: self.stream.exchange(given))

    def cancel(self, q: dict[str, Any]) -> dict[str, Any]:
        return self.call(lambda: self.stream.cancel() or {} if self.stream else {})

    def close(self, q: dict[str, Any]) -> dict[str, Any]:
        return self.call(lambda: self.stream.close() or {} if self.stream else {})

    def describe(self, q: dict[str, Any]) -> dict[str, Any]:
        global relayed
        relayed = None
        from vgi_rpc.http import http_introspect
        from vgi_rpc.introspect import introspect

        def action() -> dict[str, Any]:
            if self.http:
                from vgi_rpc.external import ExternalLocationConfig

                config = ExternalLocationConfig(url_validator=None)
                d = http_introspect(base_url=self.target, external_location=config)
            else:
                d = introspect(self.proxy._transport)
            methods = [
                {
                    "name": m.name,
                    "method_type": m.method_type.value,
                    "has_return": m.has_return,
                    "has_header": m.has_header,
                    "is_exchange": m.is_exchange,
                    "params_schema_b64": schema(m.params_schema),
                    "result_schema_b64": schema(m.result_schema),
                    "header_schema_b64": schema(m.header_schema),
                }
                for m in d.methods.values()
            ]
            names = ("protocol_name", "request_version", "describe_version", "protocol_hash", "server_id",
                     "protocol_version")  # fmt: skip
            return {"describe": {n: getattr(d, n) for n in names} | {"methods": methods}}

        return self.call(action)

    # -- HTTP only ---------------------------------------------------------

    def capabilities(self, q: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from vgi_rpc.http import http_capabilities

        caps = asdict(http_capabilities(base_url=self.target))
        caps["supported_encodings"] = [e.value for e in caps["supported_encodings"]]
        return {"ok": True, "caps": caps}

    def request_upload_urls(self, q: dict[str, Any]) -> dict[str, Any]:
        from vgi_rpc.http import request_upload_urls

        urls = request_upload_urls(base_url=self.target, count=q["count"])
        return {"ok": True, "urls": [
            {"upload_url": u.upload_url, "download_url": u.download_url, "expires_at": int(u.expires_at.timestamp())}
            for u in urls
        ]}  # fmt: skip

    def session_begin(self, q: dict[str, Any]) -> dict[str, Any]:
        scope = self.proxy.with_session_token(token=q.get("token") or None)
        self.sessions.append((scope, scope.__enter__()))
        return {"ok": True}

    def session_end(self, q: dict[str, Any]) -> dict[str, Any]:
        if self.sessions:
            self.sessions.pop()[0].__exit__(None, None, None)
        return {"ok": True}

    def session_token(self, q: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "token": self.sessions[-1][1].current_session_token()}

    def session_echo_headers(self, q: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "headers": dict(self.sessions[-1][1].current_echo_headers())}

    def session_detach(self, q: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "token": self.sessions[-1][1].detach()}

    def shutdown(self) -> None:
        while self.sessions:
            self.session_end({})
        with contextlib.suppress(Exception):
            self.stack.close()


def main() -> None:
    driver = Driver()
    channel = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        q = json.loads(line)
        op = q.get("op")
        if op == "shutdown":
            driver.shutdown()
            print('{"ok": true}', file=channel, flush=True)
            return
        try:
            answer = getattr(driver, op)(q)
        except Exception as exc:
            answer = {"ok": False, "error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), file=channel, flush=True)
    driver.shutdown()


if __name__ == "__main__":
    main()
