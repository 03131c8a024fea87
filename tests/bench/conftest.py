"""One real server for all tests of the benchmark that only load it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.loading import load
from bench.targets import Target, redis_tls, wireproto_server
from bench.workload import Workload


@pytest.fixture(scope="session")
def ours() -> Iterator[Target]:
    """Our server with four nodes; the keys of the usual workload are there."""
    with wireproto_server() as target:
        load(target, Workload())
        yield target


@pytest.fixture(scope="session")
def redis() -> Iterator[Target]:
    """One Redis over TLS; the keys of the usual workload are there."""
    with redis_tls() as target:
        load(target, Workload())
        yield target
