"""Calls a worker through a gateway with the reference implementation, and prints who
the worker says is calling.

    whoami.py URL [CA CERTIFICATE KEY]     with https://
    whoami.py tcp:HOST:PORT
"""

import ssl
import sys
from typing import ClassVar, Protocol

import httpx2
from vgi_rpc.http import http_connect
from vgi_rpc.rpc import tcp_connect


class Whoami(Protocol):
    """What the worker of the tests serves."""

    protocol_version: ClassVar[str] = "1.0.0"

    def whoami(self) -> str:
        """Tell who is calling, and from where."""


def main() -> None:
    url = sys.argv[1]
    if url.startswith("tcp:"):
        _, host, port = url.split(":")
        with tcp_connect(Whoami, host, int(port)) as worker:
            print(worker.whoami())
        return
    tls = True
    if len(sys.argv) > 2:
        authority, certificate, key = sys.argv[2:]
        tls = ssl.create_default_context(cafile=authority)
        tls.load_cert_chain(certificate, key)
    with httpx2.Client(base_url=url, verify=tls) as client, http_connect(Whoami, client=client) as worker:
        print(worker.whoami())


main()
