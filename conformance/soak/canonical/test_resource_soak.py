"""The resource soak of the canonical suite, unmodified, on every transport; its targets are in conftest.py."""

from vgi_rpc.conformance._resource_soak_pytest import TestResourceSoak  # noqa: F401
