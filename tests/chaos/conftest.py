"""Real servers for the ledger, and networks where the machine can make them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bench.chaos.namespaces import Network, available
from tests.live.conftest import server, start_server

__all__ = ["network", "server", "start_server"]


@pytest.fixture
def network() -> Iterator[Network]:
    """A network without hosts. Only a machine that nobody expects it of may do without."""
    if missing := available():
        expected = "CI" in os.environ or os.environ.get("WIREPROTO_REQUIRE_NAMESPACES") == "1"
        (pytest.fail if expected else pytest.skip)(missing)
    with Network() as made:
        yield made
